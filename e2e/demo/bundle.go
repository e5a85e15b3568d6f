package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// bundle makes one browser script of page/app.js and @logux/client with esbuild from e2e/js.
func bundle(ctx context.Context, root string) ([]byte, error) {
	js := filepath.Join(root, "e2e", "js")
	esbuild := filepath.Join(js, "node_modules", "esbuild", "bin", "esbuild")
	if _, err := os.Stat(esbuild); err != nil {
		return nil, errors.New("the npm packages are not installed; run e2e/install.sh demo first")
	}
	packages, err := filepath.Abs(filepath.Join(js, "clients", "0.23.2", "node_modules"))
	if err != nil {
		return nil, fmt.Errorf("finding @logux/client: %w", err)
	}
	cmd := exec.CommandContext(ctx, esbuild,
		"--bundle", "--format=esm", "--minify", "--target=es2022", "--log-level=warning", "--define:process.env.NODE_ENV=\"production\"",
		filepath.Join(root, "e2e", "demo", "page", "app.js"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+packages)
	cmd.Stderr = os.Stderr
	script, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("bundling the page: %w", err)
	}
	return script, nil
}
