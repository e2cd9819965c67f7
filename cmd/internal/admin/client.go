package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// askTimeout bounds one question: an agent that doesn't answer by then is stuck, which is worth
// saying.
const askTimeout = 5 * time.Second

// Ask returns the state of the agent behind the socket at path, and the JSON it came in, unchanged,
// for those who want fields this version doesn't know.
func Ask(ctx context.Context, path string) (State, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weft/state", nil)
	if err != nil {
		return State{}, nil, err
	}
	status, body, err := exchange(request, path)
	if err != nil {
		return State{}, nil, err
	}
	var state State
	if err := json.Unmarshal(body, &state); err != nil || status != http.StatusOK {
		return State{}, nil, fmt.Errorf("what answers on %s is no weft agent (status %d): check --admin-socket", path, status)
	}
	return state, body, nil
}

// exchange sends one request to the socket at path and returns the answer's status and body.
func exchange(request *http.Request, path string) (status int, body []byte, err error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, noAnswer(path, err)
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		return 0, nil, noAnswer(path, err)
	}
	return response.StatusCode, body, nil
}

// noAnswer says in plain words why there is no state.
func noAnswer(path string, err error) error {
	remedy := "check `journalctl -u weft`"
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		remedy = "start one with `weft agent`, or name its --admin-socket"
	case errors.Is(err, fs.ErrPermission):
		remedy = "only root may ask"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // the address is in the sentence already
	}
	return fmt.Errorf("no agent answers on %s: %w: %s", path, err, remedy)
}
