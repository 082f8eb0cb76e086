package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-project/holdfast/steady"
)

// TestLedgerJudge: the ledger finds double executions and wrong verdicts, each apart.
func TestLedgerJudge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	text := ledgerLine("c0-r0-1", attemptBody(1)) + ledgerLine("c0-r0-1", attemptBody(2)) + // twice
		ledgerLine("c0-r0-2", attemptBody(1)) + // the answer was lost
		ledgerLine("c0-r0-3", attemptBody(2)) + // repeated, rightly
		ledgerLine("c0-r0-4", attemptBody(1)) + // called undelivered, and the second attempt did not come through
		ledgerLine("c1-r0-1", attemptBody(1)) + ledgerLine("c1-r0-1", attemptBody(2)) // another client
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := readLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("reset")
	undelivered := steady.Event{Kind: steady.EventRetry, Verdict: steady.NotDelivered}
	var got tally
	l.judge(&got, "c0", []*trail{
		{id: "c0-r0-2", err: failed, attempts: []steady.Event{{Kind: steady.EventGiveUp}}},
		{id: "c0-r0-3", attempts: []steady.Event{{Kind: steady.EventStale, Verdict: steady.NotSent}}},
		{id: "c0-r0-4", err: failed, attempts: []steady.Event{undelivered, {Kind: steady.EventGiveUp}}},
		{id: "c0-r0-5", err: failed},
	})
	got.firstWrong = ""
	if want := (tally{failed: 3, lost: 2, spared: 1, twice: 1, replays: 1, stale: 1, wrong: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if checkSteady("s", []string{"steady"}, []tally{got}) == nil {
		t.Error("a double execution does not end the run")
	}
	if err := checkSteady("s", []string{"net/http"}, []tally{got}); err != nil {
		t.Errorf("a peer's executions end the run: %v", err)
	}
}

// TestChance: the shares of lost answers are what they are said to be.
func TestChance(t *testing.T) {
	hit := 0
	for i := range 100_000 {
		if chance(attemptBody(i), 0) < 0.05 {
			hit++
		}
	}
	if hit < 4600 || hit > 5400 {
		t.Errorf("%d of 100000 for 0.05", hit)
	}
}
