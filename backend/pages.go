package backend

import (
	"io"
	"net/http"
	"strconv"
)

// A page is what a person or a load balancer may GET on the public port.
type page struct {
	contentType string
	body        string
}

const healthPath = "/health"

var pages = map[string]page{
	"/":        {"text/html; charset=utf-8", indexPage},
	healthPath: {"text/plain; charset=utf-8", "OK\n"},
}

const indexPage = `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Logux proxy</title>
<style>body { font: 16px/1.5 sans-serif; max-width: 36em; margin: 4em auto; padding: 0 1em }</style>
<h1>Logux proxy</h1>
<p>It works. This is the WebSocket end of an application built with
<a href="https://logux.org/">Logux</a>: clients connect to this address with <code>ws://</code> or
<code>wss://</code>, and their actions go on to the application’s HTTP back-end.</p>
<p>There is nothing to see for a browser here. <a href="/health">/health</a> tells that the server is up.</p>
</html>
`

func (p page) write(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", p.contentType)
	header.Set("Content-Length", strconv.Itoa(len(p.body)))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, p.body)
	}
}
