// Package knowledge is the knowledge base as data: one YAML file for each cause
// (causes/) and for each role a sender can have (senders/), embedded, strictly
// decoded, type-checked when loaded, and tested by the cases they carry.
//
// It does no diagnosis: [Load] hands a compiled base to package diagnosis, whose
// package comment explains the arithmetic of the weights.
package knowledge
