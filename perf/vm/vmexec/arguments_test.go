package main

import (
	"slices"
	"testing"
	"time"
)

func TestTranslate(t *testing.T) {
	for _, test := range []struct {
		args, want []string
		timeout    time.Duration
	}{
		{[]string{"-test.testlogfile=/tmp/log", "-test.paniconexit0", "-test.timeout=5m0s", "-test.run=^TestVM"},
			[]string{"-test.paniconexit0", "-test.timeout=5m0s", "-test.run=^TestVM", "-test.v=true"}, 5 * time.Minute},
		{[]string{"-test.v=test2json"}, []string{"-test.v=test2json"}, defaultTimeout},
		{[]string{"-test.v=false"}, []string{"-test.v=false", "-test.v=true"}, defaultTimeout},
		{[]string{"--test.v", "-test.timeout=0"}, []string{"--test.v", "-test.timeout=0"}, defaultTimeout},
		{[]string{"-outputdir=mine", "-v"}, []string{"-outputdir=mine", "-v", "-test.v=true"}, defaultTimeout},
	} {
		if got := translate(test.args); !slices.Equal(got.args, test.want) || got.timeout != test.timeout {
			t.Errorf("%q became %q with timeout %v, want %q with %v", test.args, got.args, got.timeout, test.want, test.timeout)
		}
	}
}

func TestPassedOn(t *testing.T) {
	got := passedOn([]string{"HOME=/home/me", "WEFT_X=1", "GODEBUG=madvdontneed=1", "PATH=/bin"})
	if want := []string{"WEFT_X=1", "GODEBUG=madvdontneed=1"}; !slices.Equal(got, want) {
		t.Errorf("passed on %q, want %q", got, want)
	}
}
