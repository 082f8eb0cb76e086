//go:build linux

package lab

import "slices"

// serverRecipes are scenarios with real server programs. Each runs in a
// namespace of the lab, in the foreground, with a directory of its own, as an
// unprivileged user, and is gone with the lab whatever happens.
//
// Servers end connections in good order when they can: they read what has
// come before they close. Where a scenario needs a reset, the client sends more
// after the close, or has sent more than the server reads, as clients do.
var serverRecipes = slices.Concat(nginxRecipes, haproxyRecipes, postgresRecipes, redisRecipes, sshdRecipes)
