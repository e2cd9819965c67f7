package kernelmode_test

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/kernelmode"
)

// ip and bridge print after Apply what they printed after flannel, but for weft's label on routes.
func TestIPAndBridgePrintWhatTheyDidAfterFlannel(t *testing.T) {
	for _, setting := range captured {
		for host, u := range flannelsUnderlay {
			t.Run(setting+"/"+host, func(t *testing.T) {
				t.Parallel()
				w := newReal(t)
				h := flannelsHost(t, setting, host, w.addUnderlay(t, u.device, u.v4, u.v6))
				want := kernelPlan(t, h)
				_, err := kernelmode.Apply(w, want)
				must(t, err)
				golden := printed(flannelsText(t, setting, host))
				eventually(t, "duplicate address detection is over", func() bool {
					return !strings.Contains(printed(w.print(t, want)), " tentative")
				})
				if diff := cmp.Diff(golden, printed(w.print(t, want))); diff != "" {
					t.Errorf("-flannel +weft:\n%s", diff)
				}
				if ops := kernelmode.Diff(want, look(t, w, want)); len(ops) != 0 {
					t.Errorf("a second Apply would do %v", ops)
				}
			})
		}
	}
}

// print runs the commands that the captured state was printed with.
func (r *real) print(t *testing.T, s kernelmode.State) map[string][]string {
	t.Helper()
	sections := map[string][]string{}
	run := func(title string, args ...string) {
		must(t, r.hand.Run(func() error {
			out, err := exec.Command(args[0], args[1:]...).Output()
			for line := range strings.Lines(string(out)) {
				sections[title] = append(sections[title], strings.TrimRight(line, " \n"))
			}
			return err
		}))
	}
	for _, l := range s.Links {
		run("ip -d addr", "ip", "-d", "addr", "show", "dev", l.Name)
	}
	run("bridge fdb", "bridge", "fdb", "show")
	sections["bridge fdb"] = slices.DeleteFunc(sections["bridge fdb"], func(line string) bool {
		return !strings.Contains(line, " dev flannel") // those of the cable
	})
	run("ip route", "ip", "route")
	run("ip -6 route", "ip", "-6", "route")
	run("ip neigh", "ip", "neigh", "show", "nud", "permanent")
	return sections
}

var (
	index    = regexp.MustCompile(`^\d+: `)
	tsoLimit = regexp.MustCompile(` tso_max_size .*`) // follows the underlying device
)

// printed joins the sections, without what differs between two runs of one program.
func printed(sections map[string][]string) string {
	var all []string
	for title, lines := range sections {
		for _, line := range lines {
			if strings.Contains(line, "dev far0") { // the other end of the test's cable
				continue
			}
			line = tsoLimit.ReplaceAllString(index.ReplaceAllString(line, ""), "")
			line = strings.ReplaceAll(line, " proto 87", "")
			line = strings.ReplaceAll(line, " nodad", "") // the address is this host's by lease
			all = append(all, title+": "+line)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
