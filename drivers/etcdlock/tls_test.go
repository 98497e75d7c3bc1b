package etcdlock_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// An authority signs certificates, its own among them.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.certificate, a.key = a.sign(t, &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue returns a certificate for this host, for a server or a client.
func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	certificate, key := a.sign(t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}

// sign completes the certificate. An authority without one signs its own.
func (a *authority) sign(t *testing.T, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, parentKey := a.certificate, a.key
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key
}

// pool returns the authority as the one that is trusted.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConnectionsMayUseTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	own := ours.issue(t)
	key, err := x509.MarshalECPrivateKey(own.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cluster := etcdtest.Run(t, 1, "--client-cert-auth",
		"--trusted-ca-file", writePEM(t, filepath.Join(dir, "ca"), "CERTIFICATE", ours.certificate.Raw),
		"--cert-file", writePEM(t, filepath.Join(dir, "cert"), "CERTIFICATE", own.Certificate[0]),
		"--key-file", writePEM(t, filepath.Join(dir, "key"), "EC PRIVATE KEY", key))
	with := func(trusted *authority, certificates ...tls.Certificate) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: cluster.SecureEndpoints(), Logger: zap.NewNop(),
			TLS: &tls.Config{RootCAs: trusted.pool(), Certificates: certificates},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}
	s := dial(t, with(ours, ours.issue(t)))
	release(t, acquire(t, s, "secure"))
	for _, c := range []struct {
		client *clientv3.Client
		says   string
	}{
		{with(theirs, ours.issue(t)), "certificate signed by unknown authority"},
		{with(ours, theirs.issue(t)), "Unavailable"}, // the server may just close the connection
		{with(ours), "Unavailable"},
	} {
		dialFails(t, c.client, 2*time.Second, "etcd", cluster.SecureEndpoints()[0], c.says)
	}
}
