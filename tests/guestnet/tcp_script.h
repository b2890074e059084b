// tests/guestnet/tcp_script.h - plays a guest's TCP from a script, line by line, in virtual time.
//
// Lines (everything after # is a comment; all numbers are relative to the two initial sequence
// numbers):
//   set NAME NUMBER     before connect: iss, irs, mss, send_buffer, receive_buffer,
//   max_retransmissions,
//                       checksum_offload, segmentation_offload, take (bytes the user takes from now
//                       on)
//   connect             the user opens the connection
//   open [win N] [mss N] [ws N]   connect, and the whole handshake with these options of the guest
//   write N | end | abort | read N   the user writes, ends his direction, aborts, takes N held
//   bytes take N              the user takes that many bytes of what comes from now on (then holds)
//   refuse | ready      the card takes no frames; it takes them again
//   +TIME               time passes, e.g. +40ms, +1s
//   < FLAGS A:B [ack N] [win N] [mss N] [ws N] [tso] [bad] [opt HEX]   a segment of the guest; data
//   A..B > FLAGS A:B [ack N] [win N] [mss N] [ws N] [seg N]   the next segment that we send is
//   exactly this state NAME | got N | ended | closed REASON | retransmissions N
// Flags are letters of FSRPA. A frame of ours that no line expects fails the script, as does wrong
// data.
#pragma once

#include <string>

namespace snowglobe::net {

/// Runs the script; failures are reported to GoogleTest with the line.
void run_tcp_script(const std::string& script);

}  // namespace snowglobe::net
