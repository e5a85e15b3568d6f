package main

import (
	"errors"
	"strings"
	"syscall"
)

// listenError turns the failure to listen on addr into a line that names the setting. When it is
// "port", the fault may also lie with the setting "host".
func listenError(setting, addr string, err error) error {
	wrong := &settingError{Setting: setting, Wrong: "cannot listen on " + addr + ": " + lastCause(err), Mend: "use another address"}
	if setting == "port" && !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
		wrong.Setting = "host"
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		wrong.Wrong, wrong.Mend = "wants "+addr+", where another program listens", "stop that program or use another port"
	case errors.Is(err, syscall.EACCES):
		wrong.Wrong, wrong.Mend = "wants "+addr+", which this user is not allowed to listen on", "use a port above 1023"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		wrong.Wrong, wrong.Mend = "wants "+addr+", which is no address of this machine", "use 0.0.0.0 for all of its addresses"
	}
	return wrong
}

// lastCause is the end of an error's chain, which the layers above only repeat.
func lastCause(err error) string {
	text := err.Error()
	return strings.TrimSpace(text[strings.LastIndex(text, ": ")+1:])
}
