// Command logux-proxy stands between Logux clients and an HTTP back-end.
package main

func main() {}
