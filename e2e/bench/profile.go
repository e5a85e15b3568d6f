package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// fetchProfile writes a CPU profile of the server whose admin listener is given to file.
func fetchProfile(admin string, d time.Duration, file string) error {
	seconds := max(int(d/time.Second), 1)
	client := http.Client{Timeout: d + 10*time.Second}
	response, err := client.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, seconds))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", response.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, response.Body); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
