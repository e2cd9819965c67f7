package flags

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// target is one variable of every kind.
type target struct {
	text, path, word string
	number           int
	margin           time.Duration
	addr, addr4      netip.Addr
	urls             []string
	names, patterns  []string
	on               bool
}

// parse runs a command line through cli as main does. It returns what was given, and the error.
func parse(t *testing.T, into *target, env map[string]string, args ...string) (Given, error) {
	t.Helper()
	var given Given
	app := &cli.App{
		Name: "weft", Writer: &bytes.Buffer{}, ErrWriter: &bytes.Buffer{}, HideVersion: true,
		ExitErrHandler: func(*cli.Context, error) {}, DisableSliceFlagSeparator: true,
		OnUsageError: Explain,
		Commands: []*cli.Command{{
			Name: "agent", OnUsageError: Explain,
			Flags: slices.Concat(Group("group",
				Text(&into.text, "text", ""), Path(&into.path, "path", ""),
				OneOf(&into.word, []string{"a", "b"}, "word", ""),
				Number(&into.number, Range{1, 65535}, "healthz-port", ""),
				Minutes(&into.margin, Range{1, 1439}, "margin", ""),
				Address(&into.addr, 0, "addr", ""), Address(&into.addr4, 4, "addr4", ""),
				URLs(&into.urls, "etcd-endpoints", ""), Repeated(&into.names, "iface", ""),
				Patterns(&into.patterns, "iface-regex", ""), Switch(&into.on, "on", ""),
				Secret(&into.text, "etcd-password", "")),
				Refused(Refusal{Name: "ip-masq", Accepted: "false", Bool: true, Why: "not yet: leave it out"},
					Refusal{Name: "kube-api-url", Why: "no Kubernetes yet"})),
			Action: func(c *cli.Context) (err error) {
				if given, err = Environment(c, func(name string) string { return env[name] }); err != nil {
					return err
				}
				return NoArguments(c)
			},
		}},
	}
	err := app.Run(append([]string{"weft", "agent"}, args...))
	return given, err
}

func TestValuesAreStored(t *testing.T) {
	var got target
	given, err := parse(t, &got, nil, "-text=x", "--path", "/a//b/", "-word", "b", "--healthz-port=1", "-margin", "90",
		"-addr", "::ffff:10.0.0.1", "--addr4=10.0.0.2", "-etcd-endpoints=http://a:1/,https://b:2", "-iface", "eth0",
		"-iface=eth1,eth2", "-iface-regex", "^10\\.(1|2){1,2}", "-on", "--ip-masq=false")
	if err != nil {
		t.Fatal(err)
	}
	want := target{
		text: "x", path: "/a/b", word: "b", number: 1, margin: 90 * time.Minute,
		addr: netip.MustParseAddr("10.0.0.1"), addr4: netip.MustParseAddr("10.0.0.2"),
		urls: []string{"http://a:1", "https://b:2"}, names: []string{"eth0", "eth1,eth2"},
		patterns: []string{"^10\\.(1|2){1,2}"}, on: true,
	}
	if got.text != want.text || got.path != want.path || got.word != want.word || got.number != want.number ||
		got.margin != want.margin || got.addr != want.addr || got.addr4 != want.addr4 || got.on != want.on ||
		!slices.Equal(got.urls, want.urls) || !slices.Equal(got.names, want.names) || !slices.Equal(got.patterns, want.patterns) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if given["iface"] != "--iface" {
		t.Errorf("given[iface] = %q, want --iface", given["iface"])
	}
}

// Every error is one line that names flag, value and remedy.
func TestErrorsNameFlagValueAndRemedy(t *testing.T) {
	tests := []struct {
		args string
		want string
	}{
		{"--healthz-port=0", `weft agent: --healthz-port="0": want a number from 1 to 65535`},
		{"-healthz-port=http", `weft agent: --healthz-port="http": want a number from 1 to 65535`},
		{"--margin=1440", `weft agent: --margin="1440": want minutes, a number from 1 to 1439`},
		{"--addr=10.0.0", `weft agent: --addr="10.0.0": want an IP address`},
		{"--addr4=::1", `weft agent: --addr4="::1": want an IPv4 address`},
		{"--word=c", `weft agent: --word="c": want one of a, b`},
		{"--path=", `weft agent: --path="": want a path`},
		{"--iface=", `weft agent: --iface="": want a value that isn't empty`},
		{"--iface-regex=(", "weft agent: --iface-regex=\"(\": want a regular expression: error parsing regexp: missing closing ): `(`"},
		{"--etcd-endpoints=a:1", `weft agent: --etcd-endpoints="a:1": "a:1" is no URL: want http://HOST:PORT or https://HOST:PORT, with commas between several`},
		{"--on=maybe", `weft agent: --on="maybe": want true or false`},
		{"--on false", `weft agent: stray argument "false": a switch takes its value with an equals sign: --NAME=false`},
		{"left over", `weft agent: stray argument "left": this command takes flags only: remove it (weft agent --help)`},
		{"--text", `weft agent: --text: its value is missing: write --text=VALUE`},
		{"---text", `weft agent: ---text: no flag is written like this: write --NAME=VALUE`},
		{"--etcd-endpoint=x", `weft agent: --etcd-endpoint: no such flag: did you mean --etcd-endpoints?`},
		{"--endpoints=x", `weft agent: --endpoints: no such flag: did you mean --etcd-endpoints?`},
		{"--frobnicate", `weft agent: --frobnicate: no such flag: weft agent --help lists them`},
		{"--ip-masq", `weft agent: --ip-masq: not yet: leave it out`},
		{"--ip-masq=true", `weft agent: --ip-masq="true": not yet: leave it out`},
		{"--kube-api-url=http://k", `weft agent: --kube-api-url="http://k": no Kubernetes yet`},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			var into target
			_, err := parse(t, &into, nil, strings.Fields(test.args)...)
			if _, ok := err.(*UsageError); !ok {
				t.Fatalf("error %v (%T) is no UsageError", err, err)
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		args []string
		port int
		from string // given["healthz-port"]
		err  string
	}{
		{name: "flannel's name", env: map[string]string{"FLANNELD_HEALTHZ_PORT": "5"}, port: 5, from: "FLANNELD_HEALTHZ_PORT"},
		{name: "weft's goes first", env: map[string]string{"FLANNELD_HEALTHZ_PORT": "5", "WEFT_HEALTHZ_PORT": "6"}, port: 6, from: "WEFT_HEALTHZ_PORT"},
		{name: "a flag goes before both", env: map[string]string{"WEFT_HEALTHZ_PORT": "6"}, args: []string{"-healthz-port=7"}, port: 7, from: "--healthz-port"},
		{name: "a bad value that a flag overrides is no error", env: map[string]string{"WEFT_HEALTHZ_PORT": "x"}, args: []string{"-healthz-port=7"}, port: 7, from: "--healthz-port"},
		{name: "empty is absent", env: map[string]string{"WEFT_HEALTHZ_PORT": "", "FLANNELD_HEALTHZ_PORT": "5"}, port: 5, from: "FLANNELD_HEALTHZ_PORT"},
		{name: "bad value", env: map[string]string{"FLANNELD_HEALTHZ_PORT": "x"}, err: `weft agent: FLANNELD_HEALTHZ_PORT="x" in the environment: want a number from 1 to 65535`},
		{name: "bad switch", env: map[string]string{"WEFT_ON": "maybe"}, err: `weft agent: WEFT_ON="maybe" in the environment: want true or false`},
		{name: "refused", env: map[string]string{"FLANNELD_IP_MASQ": "true"}, err: `weft agent: FLANNELD_IP_MASQ="true" in the environment: not yet: leave it out`},
		{name: "refused, as flannel's default", env: map[string]string{"FLANNELD_IP_MASQ": "false"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var into target
			given, err := parse(t, &into, test.env, test.args...)
			if text := errorText(err); text != test.err {
				t.Fatalf("error %q, want %q", text, test.err)
			}
			if into.number != test.port || given["healthz-port"] != test.from {
				t.Errorf("port %d from %q, want %d from %q", into.number, given["healthz-port"], test.port, test.from)
			}
		})
	}
}

// A password must not come out in an error text, not even one of another kind of flag's making.
func TestSecretIsNotShown(t *testing.T) {
	if got := shown(Secret(new(string), "etcd-password", ""), "hunter2"); strings.Contains(got, "hunter2") {
		t.Errorf("shown = %q", got)
	}
	into := target{text: "hunter2"}
	flag := Secret(&into.text, "etcd-password", "").(*cli.GenericFlag)
	if got := flag.Value.String(); got != "" {
		t.Errorf("the help text would show %q as the default", got)
	}
}

func TestClosest(t *testing.T) {
	known := []string{"etcd-endpoints", "etcd-prefix", "iface", "iface-regex", "version", "tun-name"}
	for wrong, want := range map[string]string{
		"etcd-endpoint": "etcd-endpoints",
		"prefix":        "etcd-prefix",
		"ifaces":        "iface",
		"vers":          "version",
		"tunname":       "tun-name",
		"zzzzzz":        "",
		"x":             "",
	} {
		if got := closest(wrong, known); got != want {
			t.Errorf("closest(%q) = %q, want %q", wrong, got, want)
		}
	}
}

func FuzzEditDistance(f *testing.F) {
	f.Add("kitten", "sitting")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 60 || len(b) > 60 {
			return
		}
		d := editDistance(a, b)
		if d != editDistance(b, a) {
			t.Error("not symmetric")
		}
		if (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a), len(b))-min(len(a), len(b)) {
			t.Errorf("editDistance(%q, %q) = %d", a, b, d)
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
