// tests/guestnet/tcp_transfer_scripts.cc - TCP scripts: data in both directions, sending again,
// windows. Each names the rule that it holds us to. The language is described in tcp_script.h.
#include "tests/guestnet/tcp_scripts.h"

namespace snowglobe::net {

// clang-format off
const std::vector<TcpScript> kDataScripts = {
{"AWriteIsOneSegmentWithPush", "RFC 9293, 3.9.1", R"(
open
write 100
> PA 1:101 ack 1
< A 1:1 ack 101
+60s
retransmissions 0)"},
{"ALargeWriteIsOneFrameForTheGuestToCut", "segmentation offload", R"(
open
write 10000
> PA 1:10001 seg 1460
< A 1:1 ack 10001)"},
{"AFrameCarriesAtMostWhatAnIpPacketHolds", "whole segments, below 64 KiB", R"(
open ws 7
< A 1:1 ack 1 win 2000
write 200000
> A 1:64241 seg 1460
> A 64241:128481 seg 1460
> A 128481:192721
> PA 192721:200001)"},
{"WithoutOffloadsEverySegmentIsWhole", "no GUEST_CSUM", R"(
set checksum_offload 0
open
write 2000
> A 1:1461
> PA 1461:2001)"},
{"AnAcknowledgementWaitsFortyMilliseconds", "RFC 9293, 3.8.6.3", R"(
open
< PA 1:101 ack 1
got 100
+39ms
+1ms
> A 1:1 ack 101)"},
{"AnAcknowledgementRidesOnTheNextRequest", "the usual query", R"(
open
< PA 1:101 ack 1
+10ms
write 50
> PA 1:51 ack 101
< PA 101:201 ack 51
+10ms
write 50
> PA 51:101 ack 201
< A 201:201 ack 101
+60s)"},
{"EightSegmentsAreAcknowledgedAtOnce", "less than the guest's first window", R"(
open
< A 1:8761 ack 1 tso
< A 8761:11681 ack 1 tso
> A 1:1 ack 11681)"},
{"ASegmentOutOfOrderIsKeptAndReported", "RFC 5681, 4.2", R"(
open
< A 101:201 ack 1
> A 1:1 ack 1
got 0
< A 1:101 ack 1
> A 1:1 ack 201
got 200)"},
{"OverlapsAreCutToWhatIsNew", "RFC 9293, 3.10.7.4", R"(
open
< A 1:101 ack 1
< A 51:151 ack 1
> A 1:1 ack 151
got 150)"},
{"ADuplicateIsAcknowledgedAndForgotten", "RFC 9293, 3.10.7.4", R"(
open
< A 1:101 ack 1
< A 1:101 ack 1
> A 1:1 ack 101
< A 1:51 ack 1
> A 1:1 ack 101
got 100)"},
{"AfterALossSegmentsAreAcknowledgedAtOnceForAWhile", "the guest starts slowly again", R"(
open
< A 1:101 ack 1
< A 1:101 ack 1
> A 1:1 ack 101
< PA 101:201 ack 1
> A 1:1 ack 201
< PA 201:301 ack 1
> A 1:1 ack 301)"},
{"OverlappingPiecesAheadAreMerged", "reassembly", R"(
open
< A 201:301 ack 1
> A 1:1 ack 1
< A 101:251 ack 1
> A 1:1 ack 1
< A 151:401 ack 1
> A 1:1 ack 1
< A 1:101 ack 1
> A 1:1 ack 401
got 400)"},
{"APieceAheadThatArrivesAgainInOneIsDropped", "reassembly", R"(
open
< A 101:201 ack 1
> A 1:1 ack 1
< A 1:301 ack 1
> A 1:1 ack 301
got 300)"},
{"ALargeFrameWithTheChecksumLeftToUsIsTaken", "segmentation offload from the guest", R"(
open
< PA 1:64001 ack 1 tso
> A 1:1 ack 64001
got 64000)"},
{"AWrongChecksumIsDropped", "RFC 9293, 3.1, MUST-3", R"(
open
< PA 1:101 ack 1 bad
got 0
+1s)"},
{"ASegmentWithoutAckFlagIsDropped", "RFC 9293, 3.10.7.4, fifth", R"(
open
< P 1:101
got 0
+1s)"},
{"SequenceNumbersWrapInBothDirections", "RFC 9293, 3.4", R"(
set iss 4294967290
set irs 4294967200
open
write 100
> PA 1:101 ack 1
< PA 1:151 ack 101
got 150
< A 251:351 ack 101
> A 101:101 ack 151
< A 151:251 ack 101
> A 101:101 ack 351
got 350
write 5
> PA 101:106 ack 351
< A 351:351 ack 106
+60s)"},
{"ResetChecksWorkAcrossTheWrap", "RFC 9293, 3.4", R"(
set irs 4294967290
open
< R 20:20 ack 1
> A 1:1 ack 1
< R 100000:100000
< R 1:1
closed reset)"},
};

const std::vector<TcpScript> kRetryScripts = {
{"UnacknowledgedDataIsSentAgainWithDoublingPauses", "RFC 6298, 5.4 to 5.6", R"(
open
write 100
> PA 1:101
+199ms
+1ms
> PA 1:101
+399ms
+1ms
> PA 1:101
< A 1:1 ack 101
+60s
retransmissions 2)"},
{"TheTimeoutFollowsTheRoundTrip", "RFC 6298, 2.2", R"(
connect
> S 0:0
+500ms
< SA 0:0 ack 1 mss 1460
> A 1:1 ack 1
write 10
> PA 1:11
+1499ms
+1ms
> PA 1:11)"},
{"ARepeatedSegmentIsNotMeasured", "RFC 6298, 3 (Karn)", R"(
open
write 10
> PA 1:11
+200ms
> PA 1:11
+100ms
< A 1:1 ack 11
write 10
> PA 11:21
+199ms
+1ms
> PA 11:21)"},
{"AfterATimeoutOneSegmentGoesFirst", "RFC 5681, 3.1", R"(
set segmentation_offload 0
open
write 5000
> A 1:1461
> A 1461:2921
> A 2921:4381
> PA 4381:5001
+200ms
> A 1:1461
< A 1:1 ack 1461
> A 1461:2921
> A 2921:4381
< A 1:1 ack 5001
+60s)"},
{"ThreeDuplicateAcknowledgementsBringTheSegmentAgain", "RFC 5681, 3.2", R"(
set segmentation_offload 0
open
write 5000
> A 1:1461
> A 1461:2921
> A 2921:4381
> PA 4381:5001
< A 1:1 ack 1
< A 1:1 ack 1
< A 1:1 ack 1
> A 1:1461
< A 1:1 ack 1
< A 1:1 ack 5001
+60s
retransmissions 1)"},
{"APartialAcknowledgementBringsTheNextMissingSegment", "RFC 6582, 3.2", R"(
set segmentation_offload 0
open
write 5000
> A 1:1461
> A 1461:2921
> A 2921:4381
> PA 4381:5001
< A 1:1 ack 1
< A 1:1 ack 1
< A 1:1 ack 1
> A 1:1461
< A 1:1 ack 1461
> A 1461:2921
< A 1:1 ack 5001
+60s)"},
{"AWindowUpdateIsNoDuplicateAcknowledgement", "RFC 5681, 2", R"(
open
write 100
> PA 1:101
< A 1:1 ack 1 win 60001
< A 1:1 ack 1 win 60002
< A 1:1 ack 1 win 60003
< A 1:1 ack 1 win 60004
< A 1:1 ack 101)"},
{"AGuestThatStopsAnsweringEndsTheConnection", "RFC 9293, 3.8.3", R"(
set max_retransmissions 3
open
write 10
> PA 1:11
+200ms
> PA 1:11
+400ms
> PA 1:11
+800ms
> PA 1:11
+1600ms
closed silent)"},
{"ARefusedSegmentIsMadeWhenTheCardIsReady", "back-pressure of the card", R"(
open
refuse
write 100
write 50
+5s
ready
> PA 1:151
< A 1:1 ack 151)"},
{"ARefusedAcknowledgementIsSentLater", "back-pressure of the card", R"(
open
refuse
< PA 1:101 ack 1
+40ms
+1s
ready
> A 1:1 ack 101)"},
{"ACardThatRefusesIsNoSilentGuest", "a stopped machine", R"(
set max_retransmissions 3
open
write 10
> PA 1:11
refuse
+300s
ready
> PA 1:11
< A 1:1 ack 11)"},
{"ARefusedSynIsSentWhenTheCardIsReady", "the driver comes later", R"(
connect
> S 0:0
refuse
+1s
+2s
ready
> S 0:0
< SA 0:0 ack 1
> A 1:1 ack 1)"},
};

const std::vector<TcpScript> kWindowScripts = {
{"AClosedWindowIsProbedWithOneByte", "RFC 9293, 3.8.6.1", R"(
open win 0
write 100
+199ms
+1ms
> A 1:2
< A 1:1 ack 1 win 0
+399ms
+1ms
> A 1:2
< A 1:1 ack 1 win 1000
> PA 1:101
< A 1:1 ack 101
+60s)"},
{"ARefusedProbeDoesNotEndTheProbing", "found by lossy_wire_test, seed 112", R"(
open win 0
write 100
refuse
+200ms
ready
+400ms
> A 1:2
)"},
{"AProbeThatIsTakenCounts", "RFC 9293, 3.8.6.1", R"(
open win 0
write 100
+200ms
> A 1:2
< A 1:1 ack 2 win 0
+200ms
> A 2:3
< A 1:1 ack 3 win 5000
> PA 3:101)"},
{"AWindowMayStayClosedForEver", "RFC 9293, 3.8.6.1, MUST-37", R"(
set max_retransmissions 2
open win 0
write 100
+200ms
> A 1:2
< A 1:1 ack 1 win 0
+400ms
> A 1:2
< A 1:1 ack 1 win 0
+800ms
> A 1:2
< A 1:1 ack 1 win 0
+1600ms
> A 1:2
< A 1:1 ack 1 win 0
+3200ms
> A 1:2
< A 1:1 ack 1 win 0
state ESTABLISHED
< A 1:1 ack 1 win 200
> PA 1:101)"},
{"AnEndWaitsForTheWindowAndIsProbedToo", "a FIN takes one number", R"(
open win 0
end
+200ms
> FA 1:1
< A 1:1 ack 2 win 0
state FIN-WAIT-2)"},
{"DataBeyondTheWindowWaits", "RFC 9293, 3.8.6", R"(
open win 3000
write 5000
> A 1:2921
< A 1:1 ack 2921 win 3000
> PA 2921:5001)"},
{"ASillySmallWindowIsNotFilled", "RFC 9293, 3.8.6.2.1", R"(
open win 1000
write 3000
> A 1:1001
< A 1:1 ack 1001 win 100
+199ms
+1ms
> A 1001:1101
< A 1:1 ack 1101 win 2000
> PA 1101:3001)"},
{"AShrunkenWindowIsObeyedAndStillRecovers", "RFC 9293, 3.8.6, SHLD-15", R"(
open win 5000
write 5000
> PA 1:5001
< A 1:1 ack 1 win 100
+200ms
> A 1:101
< A 1:1 ack 101 win 5000
> PA 101:5001)"},
{"AnOldWindowUpdateIsIgnored", "RFC 9293, 3.10.7.4: WL1 and WL2", R"(
open
< A 1:101 ack 1
< A 101:201 ack 1 win 4000
< A 1:1 ack 1 win 10
> A 1:1 ack 201
write 3000
> PA 1:3001)"},
{"OurWindowClosesWhenTheUserTakesNothing", "RFC 9293, 3.8.6", R"(
set receive_buffer 8192
take 0
open
< A 1:5841 ack 1 tso
> A 1:1 ack 5841 win 2352
< A 5841:8193 ack 1
> A 1:1 ack 8193 win 0
< A 8192:8192 ack 1
> A 1:1 ack 8193 win 0
< A 8193:8194 ack 1
> A 1:1 ack 8193 win 0
read 1000
read 2000
> A 1:1 ack 8193 win 3000
got 3000
take 100000
read 5192
> A 1:1 ack 8193 win 8192
< A 8193:8293 ack 1
+40ms
> A 1:1 ack 8293
got 8292)"},
{"WhatTheGuestSendsBeyondOurWindowIsCut", "RFC 9293, 3.10.7.4", R"(
set receive_buffer 4096
take 0
open
< A 1:6001 ack 1 tso
> A 1:1 ack 4097 win 0
read 4096
> A 1:1 ack 4097 win 4096)"},
{"AnAcknowledgementInAProbeOfOurClosedWindowCounts", "RFC 9293, 3.10.7.4, MUST-66", R"(
set receive_buffer 4096
take 0
open
< A 1:4097 ack 1 tso
> A 1:1 ack 4097 win 0
write 10
> PA 1:11
< A 4097:4098 ack 11
> A 11:11 ack 4097 win 0
+60s
retransmissions 0)"},
};

// clang-format on

}  // namespace snowglobe::net
