//go:build deps

// Temporary: keeps the modules of the plan in go.mod until their packages use them.
package main

import (
	_ "github.com/Masterminds/semver/v3"
	_ "github.com/alecthomas/kong"
	_ "github.com/go-json-experiment/json/jsontext"
	_ "github.com/gobwas/ws"
	_ "github.com/gobwas/ws/wsflate"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/joho/godotenv"
	_ "github.com/pires/go-proxyproto"
	_ "github.com/prometheus/client_golang/prometheus"
	_ "go.uber.org/goleak"
	_ "go.uber.org/zap"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/time/rate"
)
