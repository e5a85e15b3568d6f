package main

import (
	"errors"
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
)

// limitMemory tells the garbage collector about the container's memory limit, unless GOMEMLIMIT
// does: it then works harder near the limit, where the process would be killed otherwise. The Go
// runtime finds the number of CPUs of a container by itself.
func limitMemory(log *zap.Logger) {
	switch limit, err := memlimit.Set(); {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported), err == nil && limit == math.MaxInt64:
	case err != nil:
		log.Warn("The container's memory limit could not be read", zap.Error(err), zap.String(hintKey, "Set GOMEMLIMIT to nine tenths of it."))
	default:
		log.Debug("Memory limit", zap.Int64("bytes", limit))
	}
}
