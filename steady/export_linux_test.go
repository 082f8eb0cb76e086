package steady

import "time"

// What tests of package steady_test need of the inside.
var (
	RawServer = rawServer
	WarmUp    = warmUp
	Abort     = abort
)

// KeepLong makes a Transport believe that every server keeps idle connections for long.
func KeepLong(t *Transport) { t.ups.each(func(u *upstream) { u.lived(time.Hour) }) }
