package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// A Server is one etcd member in this process. It runs once.
type Server struct {
	config    *embed.Config
	members   roster // empty: this one alone
	defrag    Defrag
	ended     *ending
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
	s := &Server{config: config, defrag: o.Defrag, ended: newEnding(), log: o.Log, ready: make(chan struct{})}
	if o.InitialCluster != "" {
		s.members, _ = parseRoster(o.InitialCluster) // it was checked with the others
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, u := range reachable(config.ListenClientUrls) {
		s.endpoints = append(s.endpoints, u.String())
	}
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(s.log, s.ended))
	return s, nil
}

// String names the task.
func (s *Server) String() string { return "embedded etcd" }

// Ready is closed once the server answers clients. It stays open when Run fails before that.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Endpoints returns the URLs at which this machine reaches the server.
func (s *Server) Endpoints() []string { return s.endpoints }

// Run serves until ctx ends, and returns the context's error after a clean stop: the data folder
// may be opened again then. Any other error says why the server could not start, go on or stop, with
// the folder or address in question. It returns within a few seconds after the end of ctx.
func (s *Server) Run(ctx context.Context) error {
	if err := prepareDir(s.config.Dir, s.members); err != nil {
		return err
	}
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	s.config.GRPCAdditionalServerOptions = []grpc.ServerOption{endWith(streams)}
	server, err := s.start(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return s.explain(err)
	}
	err = s.serve(ctx, server)
	endStreams()
	stopped := stop(server, s.config.Dir)
	if ctx.Err() != nil && stopped != nil {
		return stopped
	}
	return err // a server that failed may be past stopping
}

// start returns the running server. It doesn't wait for what etcd does past the end of ctx, such as
// asking the members of a cluster to join.
func (s *Server) start(ctx context.Context) (*embed.Etcd, error) {
	type outcome struct {
		server *embed.Etcd
		err    error
	}
	started := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if o.server == nil && o.err == nil { // a line of its log ended this goroutine
				o.err = s.ended.reason()
			}
			started <- o
		}()
		o.server, o.err = embed.StartEtcd(s.config)
	}()
	select {
	case o := <-started:
		return o.server, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-started:
		return o.server, o.err
	case <-time.After(stopGrace):
	}
	go func() { // it can't be told to stop yet
		if o := <-started; o.server != nil {
			o.server.Close()
		}
	}()
	return nil, context.Cause(ctx)
}

// serve waits for the end of ctx, or of the server.
func (s *Server) serve(ctx context.Context, server *embed.Etcd) error {
	ready := server.Server.ReadyNotify()
	looking, enough := context.WithCancel(ctx)
	var defragmenting sync.WaitGroup
	defer defragmenting.Wait()
	defer enough()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ready:
			ready = nil
			close(s.ready)
			s.log.Info("embedded etcd serves", "endpoints", s.endpoints, "data", s.config.Dir)
			d := defragmenter{options: s.defrag, server: server.Server, log: s.log}
			defragmenting.Go(func() { d.run(looking) })
		case err := <-s.ended.fatal:
			return s.explain(err)
		case err := <-server.Err():
			return s.explain(err)
		case <-server.Server.StopNotify():
			return s.explain(s.ended.reason())
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
	case s.config.ClusterState == embed.ClusterStateFlagExisting && !s.isReady():
		return fmt.Errorf("joining a cluster with embedded etcd, data in %s: %w: the members of initial-cluster %s must be up, "+
			"and have been told of this one (etcdctl member add %s --peer-urls=%s)", s.config.Dir, err,
			s.config.InitialCluster, s.config.Name, join(s.config.AdvertisePeerUrls))
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

func (s *Server) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

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
