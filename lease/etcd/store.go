package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/lease"
)

// A Store keeps the leases of one network in etcd. [New] makes one; Close ends it.
type Store struct {
	opts Options
	tls  *tls.Config
	keys layout

	connecting chan struct{} // one slot: a lock that a context can give up waiting for
	client     *clientv3.Client
	closed     bool

	mu      sync.Mutex
	listing *listing // nil while no list is on its way
	live    *state   // what the watch knows; nil while there is none
	listed  *state   // what an acquisition has read, for the watch to go on with; else nil

	listedAt time.Time

	acquiring chan struct{} // closed when the last acquisition that has begun is done; nil without one

	large   int64        // largeNetwork, but in tests
	crowded atomic.Bool  // the last page took long
	late    atomic.Int64 // requests that timed out, one after the other, while the server was there
	size    atomic.Int64 // keys below the prefix when they were last counted

	place int // in the pool, where there is one
}

var errClosed = errors.New("the store has been closed")

// connect returns the client, and makes it at the first call. With a user name that takes a round
// trip to the server, so that it can't be done in New. The error is for explain.
func (s *Store) connect(ctx context.Context) (*clientv3.Client, error) {
	select {
	case s.connecting <- struct{}{}:
		defer func() { <-s.connecting }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.closed {
		return nil, errClosed
	}
	if s.client != nil {
		return s.client, nil
	}
	if s.opts.Pool != nil {
		return s.opts.Pool.connect(ctx, s)
	}
	client, err := s.dial(ctx)
	s.client = client
	return client, err
}

// dial makes a client.
func (s *Store) dial(ctx context.Context) (*clientv3.Client, error) {
	life, cancel := context.WithCancel(context.Background())
	giveUp := context.AfterFunc(ctx, cancel)
	client, err := clientv3.New(s.clientConfig(life))
	giveUp()
	if err != nil {
		cancel()
		return nil, err
	}
	if life.Err() != nil { // ctx ended just now, and took the new client with it
		client.Close()
		return nil, context.Cause(ctx)
	}
	return client, nil
}

func (s *Store) clientConfig(life context.Context) clientv3.Config {
	return clientv3.Config{
		Endpoints:   s.opts.Endpoints,
		TLS:         s.tls,
		Username:    s.opts.Username,
		Password:    s.opts.Password,
		Context:     life,
		Logger:      zap.NewNop(), // every failure is returned; logging it here would repeat it
		DialTimeout: s.opts.Timeout,
		// A server that vanished without a word is noticed by a watch after 13 s. Not more often
		// than every 5 s (GRPCKeepAliveMinTime), and not without a stream (PermitWithoutStream): etcd
		// ends the connection of a client that does (ENHANCE_YOUR_CALM, too_many_pings).
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// gRPC's own limit of two minutes would be two minutes without news after an outage.
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: time.Second},
			MinConnectTimeout: 3 * time.Second,
		})},
	}
}

// Close ends all requests and watches, and releases the connection. It may be called twice.
func (s *Store) Close() error {
	s.connecting <- struct{}{}
	defer func() { <-s.connecting }()
	if s.closed || s.client == nil {
		s.closed = true
		return nil
	}
	s.closed = true
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("closing etcd client: %w", err)
	}
	return nil
}

// mostPatience is how many times the timeout a request may take in a large network.
const mostPatience = 4

// request bounds one request by the store's timeout, and more in a large network or a crowd. A server that all hosts
// ask at the same moment takes its time, and goes on with what is given up: if all asked anew after five
// seconds, it would be busy with answers that nobody waits for, and none would get any further.
func (s *Store) request(ctx context.Context) (context.Context, context.CancelFunc) {
	patience := min(mostPatience, 1+s.late.Load()+s.size.Load()/s.large)
	return context.WithTimeout(ctx, s.opts.Timeout*time.Duration(patience))
}

// explain wraps an error of etcd's client once, in the words of the lease package.
func (s *Store) explain(ctx context.Context, doing string, err error) error {
	where := "etcd at " + strings.Join(s.opts.Endpoints, ",")
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case errors.Is(err, errClosed), errors.Is(err, clientv3.ErrNoAvailableEndpoints):
		return fmt.Errorf("%s: %w: %w", doing, lease.ErrUnavailable, err)
	case errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrUserEmpty),
		errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrPermissionNotGranted):
		return fmt.Errorf("%s: %s refuses user %q: %w: check user name, password and the role's "+
			"read and write permission on %s/", doing, where, s.opts.Username, err, s.keys.dir)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%s: %s is full: %w: %w: compact and defragment it, then disarm the alarm",
			doing, where, lease.ErrUnavailable, err)
	}
	switch code(err) {
	case codes.DeadlineExceeded:
		if why := s.diagnose(ctx); why != nil {
			err = why
		} else {
			s.late.Add(1)
		}
		return fmt.Errorf("%s: %w: %s: %w", doing, lease.ErrUnavailable, where, err)
	case codes.Unavailable, codes.ResourceExhausted, codes.Canceled, codes.Aborted:
		return fmt.Errorf("%s: %w: %s: %w", doing, lease.ErrUnavailable, where, err)
	case codes.Unknown:
		// A leader that is handing over drops what is proposed meanwhile, and etcd has no code for it.
		if _, answered := status.FromError(err); answered {
			return fmt.Errorf("%s: %w: %s: %w", doing, lease.ErrUnavailable, where, err)
		}
	}
	return fmt.Errorf("%s: %s: %w", doing, where, err)
}

// code classifies what may be a gRPC status, etcd's own error type, or a context's error.
func code(err error) codes.Code {
	var own rpctypes.EtcdError
	switch {
	case errors.As(err, &own):
		return own.Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return status.Code(err)
}
