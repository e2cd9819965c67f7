package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease"
	"weft/lease/etcd"
)

func configHistoryCommand() *cli.Command {
	store := agent.Defaults().Store
	asJSON, limit := false, 100
	return &cli.Command{
		Name:  "history",
		Usage: "show what the network config was before, and what changed",
		Description: environmentHelp("Lists the revisions of the config that etcd still has, newest first, each with what it changed. etcd\n" +
			"forgets at compaction. weft config get --revision N prints the config that was in force at a revision;\n" +
			"weft config set writes it again."),
		Flags: concat([]cli.Flag{
			flags.Switch(&asJSON, "json", "print JSON"),
			flags.Number(&limit, flags.Range{Min: 1, Max: math.MaxInt32}, "limit", "show at most so many revisions"),
		}, etcdFlags(&store)),
		Action: func(c *cli.Context) error {
			if _, err := gather(c, store.Check); err != nil {
				return err
			}
			return withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error {
				h, err := s.ConfigHistory(ctx, limit)
				if errors.Is(err, lease.ErrNoConfig) {
					return noConfig(store)
				}
				if err != nil {
					return err
				}
				if asJSON {
					return historyJSON(c.App.Writer, h)
				}
				return historyText(c.App.Writer, h)
			})
		},
	}
}

// historyText prints a block for each revision: its number, then what it changed.
func historyText(out io.Writer, h etcd.ConfigHistory) error {
	var b strings.Builder
	for i, r := range h.Revisions {
		fmt.Fprintf(&b, "revision %d", r.Revision)
		if i == 0 {
			b.WriteString(", in force")
		}
		if config, err := lease.ParseConfig(r.Raw); err != nil {
			fmt.Fprintf(&b, ": can't be used: %s\n", printable(firstLine(err.Error())))
		} else {
			fmt.Fprintf(&b, ": %s\n", summary(config))
		}
		if i+1 < len(h.Revisions) {
			for _, f := range fieldChanges(h.Revisions[i+1].Raw, r.Raw) {
				fmt.Fprintf(&b, "  %s\n", f)
			}
		}
	}
	b.WriteString(historyEnd(h) + "\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// historyEnd says why there is nothing older.
func historyEnd(h etcd.ConfigHistory) string {
	oldest := h.Revisions[len(h.Revisions)-1].Revision
	switch {
	case h.Created:
		return fmt.Sprintf("revision %d made the config; before it there was none, or it had been deleted", oldest)
	case h.Compacted != 0:
		return fmt.Sprintf("what was before revision %d is compacted away: etcd has no revision older than %d", oldest, h.Compacted)
	default:
		return fmt.Sprintf("there is more before revision %d: raise --limit", oldest)
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// A fieldChange is one member of the config that two revisions have different values for.
type fieldChange struct {
	Field string          `json:"field"` // with dots: Backend.Type
	Was   json.RawMessage `json:"was,omitempty"`
	Is    json.RawMessage `json:"is,omitempty"`
}

// wholeDocument stands for the field where there are none to compare.
const wholeDocument = "(document)"

// String says it in a line. Keys are kept off the screen.
func (f fieldChange) String() string {
	if f.Field == wholeDocument { // in which there may be keys
		return "~ the whole document: one of the two is no JSON object"
	}
	was, is := printable(string(f.Was)), printable(string(f.Is))
	if name := strings.ToUpper(f.Field); strings.HasSuffix(name, "PSK") || strings.HasSuffix(name, "PASSWORD") {
		was, is = hidden(was), hidden(is)
	}
	field := printable(f.Field)
	switch {
	case f.Was == nil:
		return fmt.Sprintf("+ %s: %s", field, is)
	case f.Is == nil:
		return fmt.Sprintf("- %s: %s", field, was)
	}
	return fmt.Sprintf("~ %s: %s → %s", field, was, is)
}

func hidden(text string) string {
	if text == "" {
		return ""
	}
	return "…"
}

// fieldChanges compares two documents member by member, sorted by field. Where one is no JSON object
// there are no fields, and the whole counts as one.
func fieldChanges(was, is []byte) []fieldChange {
	a, okA := flatten(was)
	b, okB := flatten(is)
	if !okA || !okB {
		if bytes.Equal(was, is) {
			return nil
		}
		return []fieldChange{{Field: wholeDocument, Was: quotedUnless(okA, was), Is: quotedUnless(okB, is)}}
	}
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	var changes []fieldChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !bytes.Equal(a[name], b[name]) {
			changes = append(changes, fieldChange{Field: name, Was: a[name], Is: b[name]})
		}
	}
	return changes
}

// quotedUnless makes JSON of what may be none.
func quotedUnless(isJSON bool, raw []byte) json.RawMessage {
	if isJSON {
		return raw
	}
	quoted, _ := json.Marshal(string(raw)) // a string always can be
	return quoted
}

// flatten returns the members of an object by path, objects inside it taken apart, values compact.
func flatten(raw []byte) (map[string]json.RawMessage, bool) {
	fields := map[string]json.RawMessage{}
	return fields, json.Valid(raw) && flattenInto(fields, "", raw)
}

func flattenInto(fields map[string]json.RawMessage, prefix string, raw []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil || len(members) == 0 && prefix != "" {
		return false // an empty object inside is a value like any other
	}
	for name, value := range members {
		if flattenInto(fields, prefix+name+".", value) {
			continue
		}
		var compact bytes.Buffer
		if json.Compact(&compact, value) != nil {
			return false
		}
		fields[prefix+name] = compact.Bytes()
	}
	return true
}

// historyJSON prints one document.
func historyJSON(out io.Writer, h etcd.ConfigHistory) error {
	type revision struct {
		Revision int64         `json:"revision"`
		Config   string        `json:"config"` // as stored
		Error    string        `json:"error,omitempty"`
		Changes  []fieldChange `json:"changes,omitempty"`
	}
	d := struct {
		Revisions []revision `json:"revisions"` // newest first
		Created   bool       `json:"created"`   // the oldest made the key
		Compacted int64      `json:"compacted,omitempty"`
	}{Created: h.Created, Compacted: h.Compacted}
	for i, r := range h.Revisions {
		one := revision{Revision: r.Revision, Config: string(r.Raw)}
		if _, err := lease.ParseConfig(r.Raw); err != nil {
			one.Error = err.Error()
		}
		if i+1 < len(h.Revisions) {
			one.Changes = fieldChanges(h.Revisions[i+1].Raw, r.Raw)
		}
		d.Revisions = append(d.Revisions, one)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}
