package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// The listener's certificate is read again when its files change; an unusable pair, and half of
// one, leave the one before in use.
func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writeKeyPair(t, filepath.Join(dir, "used"), "first.example")
	now := time.Now()
	cert, err := newCertificate(&Config{Cert: certFile, Key: keyFile}, zap.NewNop(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	age := now
	install := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		age = age.Add(time.Second) // a file system's clock may stand still within a test
		if err := os.Chtimes(to, age, age); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name string) {
		t.Helper()
		pair, err := cert.get(&tls.ClientHelloInfo{})
		if err != nil || pair.Leaf.DNSNames[0] != name {
			t.Errorf("certificate of %v, want %s; %v", pair.Leaf.DNSNames, name, err)
		}
	}
	want("first.example")

	newCert, newKey := writeKeyPair(t, filepath.Join(dir, "new"), "second.example")
	install(newCert, certFile)
	want("first.example") // too early to look
	now = now.Add(certificateAge)
	want("first.example") // half a pair
	install(newKey, keyFile)
	now = now.Add(certificateAge)
	want("second.example")

	writeFile(t, certFile, "garbage")
	now = now.Add(certificateAge)
	want("second.example")
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(certificateAge)
	want("second.example")

	newCert, newKey = writeKeyPair(t, filepath.Join(dir, "third"), "third.example")
	install(newCert, certFile)
	install(newKey, keyFile)
	now = now.Add(certificateAge)
	want("third.example")
}

func TestServerTLS(t *testing.T) {
	if config, err := serverTLS(mustLoad(t, enough), zap.NewNop()); config != nil || err != nil {
		t.Errorf("without a key: %v, %v", config, err)
	}
	f := newFiles(t)
	config, err := serverTLS(mustLoad(t, with("LOGUX_CERT", f.cert, "LOGUX_KEY", f.key)), zap.NewNop())
	if err != nil || config.MinVersion < tls.VersionTLS12 {
		t.Fatalf("%v, %v", config, err)
	}
	if pair, err := config.GetCertificate(nil); err != nil || pair.Leaf.DNSNames[0] != "a.example.com" {
		t.Errorf("%v, %v", pair, err)
	}
}
