package main

import (
	"go.uber.org/zap"
)

// A secretFile is a file that is read again when it has changed. One that cannot be used changes nothing.
type secretFile struct {
	log   *zap.Logger
	path  string
	state fileState
	// take reads the file. What it returns is logged; it never repeats a secret.
	take func(path string) error
	// What the log says then.
	taken, unusable string
}

// secretFiles are those that change while the node runs, each as it was when the settings were read, as far as that can be
// told.
func (n *clusterNode) secretFiles() (files []*secretFile) {
	add := func(path string, take func(string) error, taken, unusable string) {
		if path != "" {
			files = append(files, &secretFile{log: n.log, path: path, state: stateOf(path), take: take, taken: taken, unusable: unusable})
		}
	}
	add(n.config.GossipKeyFile, n.takeGossipKeys, "The gossip keys were read again", "The new gossip keys are unusable; those before stay")
	add(n.config.RedisFile, n.takeRedisLogin, "The password of Redis was read again", "The new URL of Redis is unusable; the one before stays")
	return files
}

// look reads the file again if it is another.
func (f *secretFile) look() {
	now := stateOf(f.path)
	if now == f.state {
		return
	}
	f.state = now
	if err := f.take(f.path); err != nil {
		f.log.Error(f.unusable, zap.String("file", f.path), zap.Error(err))
		return
	}
	f.log.Info(f.taken, zap.String("file", f.path))
}

func (n *clusterNode) takeGossipKeys(path string) error {
	keys, err := readGossipKeys(path)
	if err != nil {
		return err
	}
	return n.members.SetKeys(keys)
}

func (n *clusterNode) takeRedisLogin(path string) error {
	text, err := readRedisFile(path)
	if err != nil {
		return err
	}
	return n.config.Redis.Relogin(text)
}
