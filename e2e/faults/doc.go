// Package faults shows that the promises hold while something breaks: real server processes, real servers of Redis and thousands of clients, and a history that
// is judged afterwards (package history). Each test says what is broken and what must hold meanwhile.
//
// A fault comes FAULT_ROUNDS times (2) at moments that follow from FAULT_SEED, which each test prints, under the load FAULT_LOAD (S or A).
package faults
