package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/lease"
	"weft/lease/embedded"
	"weft/lease/leasetest"
)

func TestMain(m *testing.M) {
	leasetest.ServeIfAsked() // a member of a cluster is a process of its own, so that it can be killed
	os.Exit(m.Run())
}

// A cluster is three embedded servers, each in a process of its own.
type cluster struct {
	members   [3]embedded.Options
	processes [3]*leasetest.Process
	endpoints []string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	t.Parallel()
	c := &cluster{}
	var initial []string
	for i := range c.members {
		client, peer := "http://"+leasetest.FreeAddr(t), "http://"+leasetest.FreeAddr(t)
		c.members[i] = embedded.Options{Name: fmt.Sprintf("m%d", i), DataDir: filepath.Join(t.TempDir(), "data"),
			ListenClientURLs: []string{client}, ListenPeerURLs: []string{peer}, ClusterToken: "weft-test"}
		initial = append(initial, c.members[i].Name+"="+peer)
		c.endpoints = append(c.endpoints, client)
	}
	var starting sync.WaitGroup // none is ready before a second one is there
	for i := range c.members {
		c.members[i].InitialCluster = strings.Join(initial, ",")
		starting.Go(func() { c.start(t, i) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return c
}

func (c *cluster) start(t *testing.T, i int) {
	t.Helper()
	c.processes[i] = leasetest.StartProcess(t, c.members[i])
}

// kill is SIGKILL.
func (c *cluster) kill(i int) { c.processes[i].Kill() }

// leader asks the members who leads; -1 while there is none.
func (c *cluster) leader(ctx context.Context, client *clientv3.Client) int {
	for i, e := range c.endpoints {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		status, err := client.Status(limited, e)
		cancel()
		if err == nil && status.Leader == status.Header.MemberId {
			return i
		}
	}
	return -1
}

// TestClusterUnderLeaderKill runs the suite while the leader's process is killed every second or two.
func TestClusterUnderLeaderKill(t *testing.T) {
	c := newCluster(t)
	o := Options{Endpoints: c.endpoints, Timeout: 3 * time.Second}
	client := admin(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	kills := 0
	var killing sync.WaitGroup
	killing.Go(func() {
		for ctx.Err() == nil {
			if i := c.leader(ctx, client); i >= 0 {
				c.kill(i)
				kills++
				c.start(t, i)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	rounds := 0
	for begun := time.Now(); time.Since(begun) < 8*time.Second || rounds == 0; rounds++ {
		leasetest.Run(t, func(t *testing.T) leasetest.Network {
			n := network(t, o)
			inner := n.Open
			n.Open = func(t *testing.T) lease.Store { return leasetest.Patient(inner(t)) }
			return n
		})
	}
	cancel()
	killing.Wait()
	t.Logf("%d rounds of the suite, %d leaders killed", rounds, kills)
	if kills < 2 {
		t.Errorf("only %d leaders were killed", kills)
	}
}

// TestAWriteDuringAHandOverIsTriedAgain: the leader drops it, with an error that has no code.
func TestAWriteDuringAHandOverIsTriedAgain(t *testing.T) {
	s := open(t, Options{Endpoints: []string{"http://127.0.0.1:1"}})
	if err := s.explain(t.Context(), "writing", status.Error(codes.Unknown, "raft proposal dropped")); !errors.Is(err, lease.ErrUnavailable) {
		t.Errorf("the server's: %v", err)
	}
	if err := s.explain(t.Context(), "writing", errors.New("our own")); errors.Is(err, lease.ErrUnavailable) {
		t.Errorf("trying again doesn't help against %v", err)
	}
}

// TestAnotherEndpointTakesOver: the server that the store talks to goes away for good.
func TestAnotherEndpointTakesOver(t *testing.T) {
	c := newCluster(t)
	s := open(t, Options{Endpoints: c.endpoints, Timeout: 3 * time.Second})
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16"}`)); err != nil {
		t.Fatal(err)
	}
	f := follow(t, s)
	for i := range c.members {
		c.kill(i)
		if _, err := leasetest.Patient(s).Acquire(t.Context(), req(fmt.Sprintf("192.0.2.%d", i+1))); err != nil {
			t.Fatal(err)
		}
		wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == i+1 })
		c.start(t, i)
	}
}

// TestAMinorityIsNoStore: a member that lost the others must not answer from what it remembers.
func TestAMinorityIsNoStore(t *testing.T) {
	c := newCluster(t)
	s := open(t, Options{Endpoints: c.endpoints[:1], Timeout: time.Second})
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16"}`)); err != nil {
		t.Fatal(err)
	}
	f := follow(t, s)
	c.kill(1)
	c.kill(2)
	if _, err := s.Acquire(t.Context(), req("192.0.2.1")); !errors.Is(err, lease.ErrUnavailable) {
		t.Errorf("acquiring from a minority: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for f.Status().Connected && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
	if st := f.Status(); st.Connected {
		t.Errorf("still following a minority: %+v", st)
	}
	c.start(t, 1)
	if _, err := leasetest.Patient(s).Acquire(t.Context(), req("192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 1 })
}
