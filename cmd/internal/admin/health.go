package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Health serves /healthz (200 while the process lives) and /readyz (200 when packets can flow, else
// 503 with the reason), as flannel does.
type Health struct {
	listener net.Listener
	http     http.Server
}

// ListenHealth takes the address; metrics, if not nil, is served on /metrics.
func ListenHealth(at netip.AddrPort, source Source, metrics http.Handler) (*Health, error) {
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("listening on --healthz-ip %s --healthz-port %d: %w: give another port, or 0 for none",
			at.Addr(), at.Port(), err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state := source.State()
		if !state.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, state.readiness())
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return &Health{
		listener: listener,
		http:     http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second},
	}, nil
}

// Addr returns where the server listens.
func (h *Health) Addr() net.Addr { return h.listener.Addr() }

// Run serves until ctx ends. It returns nil after an orderly end.
func (h *Health) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = h.http.Close() })
	defer stop()
	err := h.http.Serve(h.listener)
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving health on %s: %w", h.listener.Addr(), err)
}

// Close gives the address up without Run.
func (h *Health) Close() error { return h.listener.Close() }
