// Package server is the edge of package names: UDP and TCP sockets, limits on
// what strangers may cost, and the questions that go to the resolvers which the
// operator names. It decides nothing about names.
//
// An address whose port another program has, or that the host does not have
// (yet), is tried again and again; Health says so. Questions to other resolvers
// carry no mark: whether they go through the mesh is for the host's routes.
package server
