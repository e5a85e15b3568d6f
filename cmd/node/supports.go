package main

import (
	"encoding/json"
	"strconv"

	"github.com/Masterminds/semver/v3"

	"logux-proxy/wire"
)

// supports returns the check of clients' subprotocols before the back-end is asked, or nil when both
// settings are empty. A number N and the version N.0.0 are the same subprotocol: clients of protocol 5
// send numbers, older ones versions.
func supports(versions *semver.Constraints, npmRange string, lowest int) func(wire.RawJSON) (wire.RawJSON, bool) {
	if versions == nil && lowest == 0 {
		return nil
	}
	supported, err := json.Marshal(npmRange)
	if versions == nil || err != nil {
		supported = strconv.AppendInt(nil, int64(lowest), 10)
	}
	return func(used wire.RawJSON) (wire.RawJSON, bool) {
		v, err := subprotocolVersion(used)
		switch {
		case err != nil,
			versions != nil && !versions.Check(v),
			lowest > 0 && v.Major() < uint64(lowest):
			return supported, false
		}
		return nil, true
	}
}

// subprotocolVersion reads "1.2.3" and 1, as JSON.
func subprotocolVersion(raw wire.RawJSON) (*semver.Version, error) {
	text := string(raw)
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, err
		}
		return semver.StrictNewVersion(text)
	}
	return semver.NewVersion(text)
}
