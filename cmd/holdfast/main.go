// Command holdfast says, for every TCP reset, who sent it, why, with what
// proof, what it cost, and how to make it stop. See internal/cli.
package main

import (
	"os"

	"github.com/holdfast-project/holdfast/internal/cli"
)

func main() { os.Exit(cli.Main()) }
