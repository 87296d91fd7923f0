// Package resolver turns resources into tables. (The full text follows with the code.)
package resolver
