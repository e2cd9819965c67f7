package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is what fits into sockaddr_un.sun_path beside its closing zero (unix(7)).
const maxSocketPath = 107

// A Server serves the state on a unix socket that only root can open.
type Server struct {
	path     string
	listener net.Listener
	http     http.Server
}

// Listen takes the socket at path. A socket that nobody serves any more is replaced; one that an
// agent answers on is left alone, and the error is a HeldError.
func Listen(path string, source Source) (*Server, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path is %d bytes long, Linux takes %d: give a shorter --admin-socket",
			path, len(path), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of admin socket %s: %w%s: give another --admin-socket", path, err, rootRemedy(err))
	}
	if err := clearStale(path); err != nil {
		return nil, err
	}
	listener, err := listenPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("listening on admin socket %s: %w%s: give another --admin-socket", path, err, rootRemedy(err))
	}
	s := &Server{path: path, listener: listener}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(source.State()) // a client that went away needs no answer
	})
	mux.HandleFunc("POST "+SwitchPath, func(w http.ResponseWriter, r *http.Request) { serveSwitch(w, r, source) })
	s.http = http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return s, nil
}

// A HeldError says that another agent serves the admin socket.
type HeldError struct {
	Path string
	PID  int
}

// Error says who holds it and what to do.
func (e *HeldError) Error() string {
	return fmt.Sprintf("admin socket %s is served by another agent, pid %d: end that one, or give this one its own --admin-socket and --subnet-file",
		e.Path, e.PID)
}

// rootRemedy is what to do about the first thing that an agent without rights meets.
func rootRemedy(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return ": weft agent needs root (CAP_NET_ADMIN), run it with sudo"
	}
	return ""
}

// clearStale removes a socket that a killed agent left behind.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking at admin socket %s: %w", path, err)
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("admin socket %s: there is a file that is no socket: give another --admin-socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		defer conn.Close()
		return &HeldError{Path: path, PID: PeerPID(conn)}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("asking who holds admin socket %s: %w%s", path, err, rootRemedy(err))
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing stale admin socket %s: %w", path, err)
	}
	return nil
}

// Run serves until ctx ends, then removes the socket. It returns nil after an orderly end.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	err := s.http.Serve(s.listener) // closes the listener, which unlinks the socket
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving admin socket %s: %w", s.path, err)
}

// Close gives the socket up without Run.
func (s *Server) Close() error { return s.listener.Close() }
