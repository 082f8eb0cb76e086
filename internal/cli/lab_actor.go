package cli

import (
	"github.com/holdfast-project/holdfast/internal/lab"
	"github.com/holdfast-project/holdfast/internal/lab/storm"
)

// labActor does the work of this process when the lab started it as one of its
// clients, servers or routers; it returns false in every other process.
func labActor() bool { return lab.ActorMain() || storm.Main() }
