package main

import (
	"bytes"
	"embed"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

//go:embed page/index.html page/style.css
var files embed.FS

// page serves the demo's page, which connects to the WebSocket URL server.
func page(server string, script []byte) http.Handler {
	static, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	index, err := fs.ReadFile(static, "index.html")
	if err != nil {
		panic(err)
	}
	html := []byte(strings.Replace(string(index), `<html lang="en">`, `<html lang="en" data-server="`+server+`">`, 1))
	mux := http.NewServeMux()
	send := func(name string, content []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
		}
	}
	mux.HandleFunc("GET /{$}", send("index.html", html))
	mux.HandleFunc("GET /app.js", send("app.js", script))
	mux.Handle("GET /style.css", http.FileServerFS(static))
	return mux
}
