package steady

import (
	"flag"
	"os"
	"testing"
)

var own = flag.Bool("own", false, "run all tests through Transport.OwnPool")

func TestMain(m *testing.M) {
	flag.Parse()
	alwaysOwn = *own
	os.Exit(m.Run())
}
