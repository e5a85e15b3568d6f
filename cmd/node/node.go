package main

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// runNode builds the packages from c, runs them until ctx ends, and stops them in order.
func runNode(context.Context, *Config, *zap.Logger, *metrics) error {
	return errors.New("the node is not wired yet")
}
