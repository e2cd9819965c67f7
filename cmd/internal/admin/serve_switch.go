package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// A Switcher is a Source that can be asked for another datapath. Switch returns when that is done and
// checked, or undone.
type Switcher interface {
	Switch(ctx context.Context, datapath string) Switched
}

// switchWords are the datapaths that have a name; whether this agent has them too is its own affair.
var switchWords = []string{"auto", "kernel", "userspace", "express"}

// maxWish bounds a Switch, in bytes of JSON.
const maxWish = 1 << 10

// serveSwitch answers a Switch with what became of it: see SwitchPath.
func serveSwitch(w http.ResponseWriter, r *http.Request, source Source) {
	answer := func(status int, result Switched) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(result) // a client that went away needs no answer
	}
	switcher, ok := source.(Switcher)
	if !ok {
		http.NotFound(w, r)
		return
	}
	var wish Switch
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxWish)).Decode(&wish); err != nil {
		answer(http.StatusBadRequest, Switched{Error: "reading the request: " + err.Error() + `: send {"datapath":"auto"}`})
		return
	}
	if !slices.Contains(switchWords, wish.Datapath) {
		answer(http.StatusBadRequest, Switched{Error: fmt.Sprintf("datapath %q: use auto, express, kernel or userspace", wish.Datapath)})
		return
	}
	// A client that goes away must not leave a switch half done.
	result := switcher.Switch(context.WithoutCancel(r.Context()), wish.Datapath)
	status := http.StatusOK
	if result.Error != "" {
		status = http.StatusConflict
	}
	answer(status, result)
}
