package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// SwitchPath is where the agent takes a Switch by POST, as JSON. It answers with Switched: status 200
// where the datapath is the one asked for, 409 where it isn't, 400 for a word that is none.
const SwitchPath = "/v1/switch"

// A Switch asks a running agent to move its packets through another datapath.
type Switch struct {
	Datapath string `json:"datapath"` // auto, or the name of one
}

// Switched is what became of it.
type Switched struct {
	Datapath string        `json:"datapath"`        // that moves the packets now, whatever became of the wish
	Why      string        `json:"why"`             // it is this one, and not a faster one
	Took     time.Duration `json:"took"`            // nanoseconds, from the request to the last check
	Error    string        `json:"error,omitempty"` // why it isn't the one asked for; what was before is kept
}

// switchTimeout bounds a switch: two probes of peers, and building the tunnels to thousands of them,
// on a machine that is busy.
const switchTimeout = time.Minute

// RequestSwitch has the agent behind the socket at path change its datapath, and waits until that is
// done and checked, or undone. The error is for an agent that couldn't be asked; one that refused or
// went back says so in the result.
func RequestSwitch(ctx context.Context, path string, wish Switch) (Switched, error) {
	ctx, cancel := context.WithTimeout(ctx, switchTimeout)
	defer cancel()
	body, err := json.Marshal(wish)
	if err != nil {
		return Switched{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://weft"+SwitchPath, bytes.NewReader(body))
	if err != nil {
		return Switched{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	status, answer, err := exchange(request, path)
	if err != nil {
		return Switched{}, err
	}
	if status == http.StatusNotFound {
		return Switched{}, fmt.Errorf("the agent on %s is of a version that can't switch: restart it with this one", path)
	}
	var result Switched
	if err := json.Unmarshal(answer, &result); err != nil || result.Error == "" && status != http.StatusOK {
		return Switched{}, fmt.Errorf("what answers on %s is no weft agent (status %d): check --admin-socket", path, status)
	}
	return result, nil
}
