// Package cluster joins servers: it carries envelopes from the server where an action was approved
// to those that have receivers for it.
package cluster
