package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// A Server is one etcd member in this process. It runs once.
type Server struct {
	config    *embed.Config
	endpoints []string
	log       *slog.Logger
	ready     chan struct{}
}

// New checks the options. Nothing is opened before Run.
func New(o Options) (*Server, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, log: o.Log, ready: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, u := range reachable(config.ListenClientUrls) {
		s.endpoints = append(s.endpoints, u.String())
	}
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(s.log))
	return s, nil
}

// String names the task.
func (s *Server) String() string { return "embedded etcd" }

// Ready is closed once the server answers clients. It stays open when Run fails before that.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Endpoints returns the URLs at which this machine reaches the server.
func (s *Server) Endpoints() []string { return s.endpoints }

// Run serves until ctx ends, and returns the context's error after a clean stop: the data folder
// may be opened again then. Any other error says why the server could not start or go on, with the
// folder or address in question.
func (s *Server) Run(ctx context.Context) error {
	if err := prepareDir(s.config.Dir); err != nil {
		return err
	}
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	s.config.GRPCAdditionalServerOptions = []grpc.ServerOption{
		grpc.ChainStreamInterceptor(endWith(streams)),
	}
	server, err := embed.StartEtcd(s.config)
	if err != nil {
		return s.explain(err)
	}
	// Without this a stop waits seven seconds for watches, which never end by themselves.
	defer server.Close()
	defer endStreams()
	ready := server.Server.ReadyNotify()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ready:
			ready = nil
			close(s.ready)
			s.log.Info("embedded etcd serves", "endpoints", s.endpoints, "data", s.config.Dir)
		case err := <-server.Err():
			return s.explain(err)
		case <-server.Server.StopNotify():
			return s.explain(errors.New("the server stopped by itself; its last log lines say why"))
		}
	}
}

// explain adds what a person needs to act.
func (s *Server) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("starting embedded etcd: %w: another etcd may run here: use that one, stop "+
			"it, or choose other client (%s) and peer (%s) addresses", err,
			join(s.config.ListenClientUrls), join(s.config.ListenPeerUrls))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("starting embedded etcd: %w: this machine doesn't have that address: choose "+
			"others for clients (%s) and peers (%s)", err,
			join(s.config.ListenClientUrls), join(s.config.ListenPeerUrls))
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("starting embedded etcd: %w: check the files and free space of %s", err, s.config.Dir)
	}
	return fmt.Errorf("running embedded etcd with data in %s: %w", s.config.Dir, err)
}

func join(urls []url.URL) string {
	text := make([]string, len(urls))
	for i := range urls {
		text[i] = urls[i].String()
	}
	return strings.Join(text, ",")
}

// prepareDir makes the folder and sees that no other server has it open: etcd itself would wait
// for the file's lock for ever, without a word.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making data folder of embedded etcd: %w: choose one that can be written", err)
	}
	if err := checkUnlocked(dir); err != nil {
		return fmt.Errorf("opening data folder %s of embedded etcd: %w", dir, err)
	}
	return nil
}

var errLocked = errors.New("another etcd server has it open: stop that one, or choose another folder")

// endWith ends every stream when ctx ends.
func endWith(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		limited, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return handler(srv, endable{stream, limited})
	}
}

// An endable stream has a context that can end before its client does.
type endable struct {
	grpc.ServerStream
	ctx context.Context
}

func (e endable) Context() context.Context { return e.ctx }

// startLimit is how long WaitReady waits at most for an election and the replay of a log.
const startLimit = 30 * time.Second

// WaitReady waits until the server answers. It is for callers that don't watch Ready themselves.
func (s *Server) WaitReady(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	select {
	case <-s.ready:
		return nil
	case <-limited.Done():
		return fmt.Errorf("waiting for embedded etcd with data in %s: %w", s.config.Dir, context.Cause(limited))
	}
}
