package main

import (
	"runtime"
	"runtime/debug"
)

// release is set by the linker to the tag that the binary was built from.
var release string

// version says which code this is: its name, and the Go that built it.
func version() string {
	return releaseName() + " (" + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}

// releaseName is the release, or else the commit.
func releaseName() string {
	name := release
	if info, ok := debug.ReadBuildInfo(); ok && name == "" {
		name = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && (name == "" || name == "(devel)") {
				name = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	if name == "" {
		name = "(devel)"
	}
	return name
}
