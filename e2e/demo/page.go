package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed page/index.html page/style.css
var files embed.FS

// page serves the demo's page, which connects to one of the cluster's nodes: each load to the next that runs, or to the one that ?node= names. With
// several nodes the page can kill and start them.
func page(ctx context.Context, c *cluster, script []byte) http.Handler {
	static, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	index, err := fs.ReadFile(static, "index.html")
	if err != nil {
		panic(err)
	}
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, "ws://"+n.addr)
	}
	send := func(w http.ResponseWriter, r *http.Request, name string, content []byte) {
		w.Header().Set("Cache-Control", "no-store")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}
	var loads atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		at, err := strconv.Atoi(r.URL.Query().Get("node"))
		if at--; err != nil || at < 0 || at >= len(addrs) {
			at = c.alive(int((loads.Add(1) - 1) % int64(len(addrs))))
		}
		data := fmt.Sprintf(`<html lang="en" data-nodes="%s" data-node="%d">`, html.EscapeString(strings.Join(addrs, " ")), at)
		send(w, r, "index.html", bytes.Replace(index, []byte(`<html lang="en">`), []byte(data), 1))
	})
	mux.HandleFunc("GET /app.js", func(w http.ResponseWriter, r *http.Request) { send(w, r, "app.js", script) })
	mux.Handle("GET /style.css", http.FileServerFS(static))
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+c.nodes[c.alive(0)].admin+"/cluster", http.StatusFound)
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(c.states()) // the browser may be gone
	})
	control := func(act func(*process) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			p := c.find(r.PathValue("name"))
			if p == nil {
				http.NotFound(w, r)
			} else if err := act(p); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	}
	mux.HandleFunc("POST /{name}/kill", control(func(p *process) error { p.kill(); return nil }))
	mux.HandleFunc("POST /{name}/start", control(func(p *process) error { return p.start(ctx) }))
	// No page of another site may press the buttons.
	return http.NewCrossOriginProtection().Handler(mux)
}
