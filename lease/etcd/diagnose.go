package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"
)

// Waits of a diagnosis. A server that doesn't like our certificate says so only after the handshake
// (TLS 1.3), and right away.
const (
	diagnoseDial   = time.Second
	diagnoseListen = 300 * time.Millisecond
)

// diagnose tries the endpoints plainly and returns what is wrong with the first that fails; nil when
// nothing is. A client that waits for a connection only says that its time ran out, which helps
// nobody whose certificate has expired.
func (s *Store) diagnose(ctx context.Context) error {
	for _, e := range s.opts.Endpoints {
		u, err := url.Parse(e)
		if err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, diagnoseDial)
		err = s.tryEndpoint(limited, u)
		cancel()
		if err != nil {
			return fmt.Errorf("connecting to %s: %w", e, err)
		}
	}
	return nil
}

func (s *Store) tryEndpoint(ctx context.Context, u *url.URL) error {
	if u.Scheme == "http" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	config := &tls.Config{}
	if s.tls != nil {
		config = s.tls.Clone()
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(diagnoseListen))
	if _, err = conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // it waits for our request: all is well
	}
	return err
}
