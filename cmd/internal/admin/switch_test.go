package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the agent answers is what the client returns, a refusal included; what isn't an agent's answer
// is an error that says what to do.
func TestRequestSwitch(t *testing.T) {
	done := Switched{Datapath: "kernel", Why: "the fastest that works here", Took: 120 * time.Millisecond}
	undone := Switched{Datapath: "userspace", Why: "asked for", Took: 3 * time.Second, Error: "1 of 3 peers don't answer any more"}
	for _, test := range []struct {
		name   string
		status int
		answer any
		want   Switched
		err    string
	}{
		{"done", http.StatusOK, done, done, ""},
		{"gone back", http.StatusConflict, undone, undone, ""},
		{"a word it doesn't know", http.StatusBadRequest, Switched{Error: "no such datapath"}, Switched{Error: "no such datapath"}, ""},
		{"an older agent", http.StatusNotFound, "404 page not found", Switched{}, "restart it with this one"},
		{"a failure without a reason", http.StatusInternalServerError, Switched{}, Switched{}, "is no weft agent (status 500)"},
		{"no agent at all", http.StatusOK, []string{"hello"}, Switched{}, "is no weft agent (status 200)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			var asked Switch
			mux := http.NewServeMux()
			mux.HandleFunc("POST "+SwitchPath, func(w http.ResponseWriter, r *http.Request) {
				_ = json.NewDecoder(r.Body).Decode(&asked)
				w.WriteHeader(test.status)
				_ = json.NewEncoder(w).Encode(test.answer)
			})
			server := &http.Server{Handler: mux}
			served := make(chan struct{})
			go func() {
				defer close(served)
				_ = server.Serve(listener)
			}()
			defer func() { _ = server.Close(); <-served }()

			got, err := RequestSwitch(t.Context(), path, Switch{Datapath: "kernel"})
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if got != test.want || asked.Datapath != "kernel" {
				t.Errorf("asked for %q, got %+v\nwant %+v", asked.Datapath, got, test.want)
			}
		})
	}
}

func TestRequestSwitchWithoutAnAgent(t *testing.T) {
	_, err := RequestSwitch(t.Context(), filepath.Join(t.TempDir(), "none"), Switch{Datapath: "auto"})
	if err == nil || !strings.Contains(err.Error(), "start one with `weft agent`") {
		t.Errorf("error %v", err)
	}
}
