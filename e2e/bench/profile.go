package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// fetchCPU writes a CPU profile of the server whose admin listener is given to file.
func fetchCPU(admin string, d time.Duration, file string) error {
	seconds := max(int(d/time.Second), 1)
	return fetch(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, seconds), d, file)
}

// fetchHeap writes a profile of the memory in use to file.
func fetchHeap(admin, file string) error {
	return fetch(fmt.Sprintf("http://%s/debug/pprof/heap?gc=1", admin), 0, file)
}

func fetch(url string, d time.Duration, file string) error {
	client := http.Client{Timeout: d + 10*time.Second}
	response, err := client.Get(url)
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
