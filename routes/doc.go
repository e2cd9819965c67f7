// Package routes answers, for every packet, which hop carries an inner address.
package routes
