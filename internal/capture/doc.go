// Package capture turns packet captures into cases. It opens files (plain or
// compressed, growing or whole) and live interfaces, spreads their connections
// over the cores, and asks package tcp how each of them ended. What the endings
// of a whole capture, or of several captures of the same traffic, say about each
// other is added here; package diagnosis then decides.
//
// Memory is bounded by [Options]: connections, endings, frames of one ladder.
// What did not fit is counted in [Point].
package capture
