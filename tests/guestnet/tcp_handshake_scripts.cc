// tests/guestnet/tcp_handshake_scripts.cc - TCP scripts: opening of connections, closing, resets
// and segments out of place. Each names the rule that it holds us to. The language is described in
// tcp_script.h.
#include "tests/guestnet/tcp_scripts.h"

namespace snowglobe::net {

// clang-format off
const std::vector<TcpScript> kOpenScripts = {
{"TheSynOffersSegmentSizeAndWindowScale", "RFC 9293, 3.7.1; RFC 7323, 2", R"(
connect
> S 0:0 win 65535 mss 1460 ws 3
< SA 0:0 ack 1 win 65535 mss 1460 ws 7
> A 1:1 ack 1 win 32768
state ESTABLISHED)"},
{"WithoutTheGuestsScaleOptionWindowsAreNotScaled", "RFC 7323, 2.2", R"(
open
< PA 1:101 ack 1
+40ms
> A 1:1 ack 101 win 65435  # the edge moves by whole segments only)"},
{"TheSynIsSentAgainAfterOneTwoAndFourSeconds", "RFC 6298, 5", R"(
connect
> S 0:0
+999ms
+1ms
> S 0:0
+1999ms
+1ms
> S 0:0
+3999ms
+1ms
> S 0:0 mss 1460 ws 3
< SA 0:0 ack 1 mss 1460
> A 1:1 ack 1
state ESTABLISHED)"},
{"AGuestThatNeverAnswersEndsTheConnection", "RFC 9293, 3.8.3", R"(
connect
> S 0:0
+1s
> S 0:0
+2s
> S 0:0
+4s
> S 0:0
+8s
> S 0:0
state SYN-SENT
+5s
closed silent)"},
{"AResetThatAcknowledgesTheSynMeansRefused", "RFC 9293, 3.10.7.3", R"(
connect
> S 0:0
< RA 0:0 ack 1
closed refused)"},
{"AResetWithoutAcknowledgementDoesNotEndTheOpening", "RFC 9293, 3.10.7.3", R"(
connect
> S 0:0
< R 0:0
< RA 0:0 ack 2
state SYN-SENT
< SA 0:0 ack 1
> A 1:1 ack 1)"},
{"AWrongAcknowledgementInSynSentIsReset", "RFC 9293, 3.10.7.3", R"(
connect
> S 0:0
< SA 0:0 ack 7
> R 7:7
< A 0:0 ack 0
> R 0:0
state SYN-SENT
< SA 0:0 ack 1
> A 1:1 ack 1)"},
{"AnAcknowledgementWithoutSynIsNotEnough", "RFC 9293, 3.10.7.3", R"(
connect
> S 0:0
< A 0:0 ack 1
state SYN-SENT)"},
{"BothSidesMayOpenAtOnce", "RFC 9293, 3.5, figure 7", R"(
connect
> S 0:0
< S 0:0 win 1000 mss 1460
> SA 0:0 ack 1 mss 1460
state SYN-RECEIVED
< A 1:1 ack 1 win 1000
state ESTABLISHED
write 100
> PA 1:101 ack 1)"},
{"ALostSynAckOfASimultaneousOpenIsSentAgain", "RFC 9293, 3.5", R"(
connect
> S 0:0
< S 0:0
> SA 0:0 ack 1
+1s
> SA 0:0 ack 1
< A 1:1 ack 9
> R 9:9
state SYN-RECEIVED
< A 1:1 ack 1
state ESTABLISHED)"},
{"WhatWasWrittenBeforeGoesWithTheLastStepOfTheHandshake", "one frame less", R"(
connect
> S 0:0
write 100
< SA 0:0 ack 1 win 65535 mss 1460
> PA 1:101 ack 1)"},
{"ARepeatedSynAckIsAcknowledgedAgain", "RFC 9293, 3.10.7.4", R"(
open
< SA 0:0 ack 1 win 65535 mss 1460
> A 1:1 ack 1
state ESTABLISHED)"},
{"WithoutTheOptionSegmentsHave536Octets", "RFC 9293, 3.7.1, MUST-15", R"(
set segmentation_offload 0
connect
> S 0:0
< SA 0:0 ack 1 win 65535
> A 1:1 ack 1
write 1000
> A 1:537
> PA 537:1001)"},
{"ALargerSegmentSizeThanOursIsNotUsed", "RFC 9293, 3.7.1", R"(
set segmentation_offload 0
open mss 9000
write 3000
> A 1:1461
> A 1461:2921
> PA 2921:3001)"},
{"ASegmentSizeOfNothingIsNotBelieved", "robustness", R"(
set segmentation_offload 0
open mss 0
write 100
> A 1:65
> PA 65:101)"},
{"OptionsThatOverrunTheHeaderEndTheOptions", "RFC 9293, 3.1, MUST-7", R"(
connect
> S 0:0
< SA 0:0 ack 1 opt 020403e8ff
> A 1:1 ack 1
write 1200
> PA 1:1201 seg 1000)"},
{"OptionsOfLengthZeroOrOneDoNotLoop", "RFC 9293, 3.1, MUST-7", R"(
connect
> S 0:0
< SA 0:0 ack 1 opt fe00fe01020405b4
> A 1:1 ack 1
state ESTABLISHED
< PA 1:11 ack 1 opt 0101080affffffffffffffff
got 10)"},
{"AWindowScaleAboveFourteenCountsAsFourteen", "RFC 7323, 2.3", R"(
open ws 255
< A 1:1 ack 1 win 1
write 20000
> A 1:16061 seg 1460
< A 1:1 ack 16061 win 1
> PA 16061:20001)"},
};

const std::vector<TcpScript> kCloseScripts = {
{"WeCloseFirst", "RFC 9293, 3.6, figure 12", R"(
open
end
> FA 1:1 ack 1
state FIN-WAIT-1
< A 1:1 ack 2
state FIN-WAIT-2
< FA 1:1 ack 2
> A 2:2 ack 2
ended
closed finished
state TIME-WAIT
+1s
state CLOSED)"},
{"TheGuestsEndMayComeWithTheAcknowledgementOfOurs", "RFC 9293, 3.6", R"(
open
end
> FA 1:1 ack 1
< FA 1:1 ack 2
> A 2:2 ack 2
closed finished
state TIME-WAIT)"},
{"TimeWaitAcknowledgesARepeatedEndAndStartsAgain", "RFC 9293, 3.10.7.4", R"(
open
end
> FA 1:1
< FA 1:1 ack 2
> A 2:2 ack 2
+900ms
< FA 1:1 ack 2
> A 2:2 ack 2
+900ms
state TIME-WAIT
+100ms
state CLOSED)"},
{"TheGuestClosesFirst", "RFC 9293, 3.6", R"(
open
< FA 1:1 ack 1
> A 1:1 ack 2
ended
state CLOSE-WAIT
write 10
> PA 1:11 ack 2
end
> FA 11:11 ack 2
state LAST-ACK
< A 2:2 ack 12
closed finished
state CLOSED)"},
{"BothCloseAtOnce", "RFC 9293, 3.6, figure 13", R"(
open
end
> FA 1:1
< FA 1:1 ack 1
> A 2:2 ack 2
state CLOSING
< A 2:2 ack 2
state TIME-WAIT
closed finished)"},
{"TheEndRidesOnTheLastData", "one frame less", R"(
open
refuse
write 100
end
ready
> FPA 1:101
< A 1:1 ack 102
state FIN-WAIT-2)"},
{"ALostEndIsSentAgain", "RFC 6298, 5", R"(
open
end
> FA 1:1
+200ms
> FA 1:1
< A 1:1 ack 2
+60s
state FIN-WAIT-2)"},
{"TheGuestMayGoOnAfterOurEnd", "RFC 9293, 3.6: half-close", R"(
open
end
> FA 1:1
< A 1:1 ack 2
< PA 1:1001 ack 2
got 1000
+40ms
> A 2:2 ack 1001
< FA 1001:1001 ack 2
> A 2:2 ack 1002
closed finished)"},
{"AnEndOutOfOrderWaitsForItsData", "RFC 9293, 3.10.7.4", R"(
open
< FA 101:101 ack 1
> A 1:1 ack 1
state ESTABLISHED
< A 1:101 ack 1
> A 1:1 ack 102
got 100
ended
state CLOSE-WAIT)"},
{"AnEndWithDataAheadIsKept", "RFC 9293, 3.10.7.4", R"(
open
< FPA 101:201 ack 1
> A 1:1 ack 1
< A 1:101 ack 1
> A 1:1 ack 202
got 200
ended)"},
{"TheUserHearsOfTheEndAfterTheLastByte", "held data", R"(
take 0
open
< FPA 1:101 ack 1
> A 1:1 ack 102
end
> FA 1:1
< A 102:102 ack 2
state CLOSED
read 100
got 100
ended
closed finished)"},
{"TimeWaitMayBeOverBeforeTheUserHasReadAll", "held data", R"(
take 0
open
end
> FA 1:1
< FPA 1:101 ack 2
> A 2:2 ack 102
state TIME-WAIT
+1s
read 100
ended
closed finished)"},
{"AnEndDuringTheHandshakeFollowsIt", "RFC 9293, 3.10.4", R"(
connect
> S 0:0
end
< SA 0:0 ack 1
> FA 1:1 ack 1
state FIN-WAIT-1)"},
{"DataAfterTheGuestsEndIsIgnored", "RFC 9293, 3.10.7.4", R"(
open
< FA 1:1 ack 1
> A 1:1 ack 2
< PA 2:102 ack 1
got 0
state CLOSE-WAIT)"},
};

const std::vector<TcpScript> kResetScripts = {
{"AnExactResetEndsTheConnection", "RFC 5961, 3.2", R"(
open
< R 1:1
closed reset
state CLOSED)"},
{"AResetInsideTheWindowIsChallenged", "RFC 5961, 3.2", R"(
open
< R 2:2
> A 1:1 ack 1
state ESTABLISHED
< R 1:1
closed reset)"},
{"AResetOutsideOfTheWindowIsIgnored", "RFC 5961, 3.2", R"(
open
< R 500000:500000
< R -5:-5
state ESTABLISHED)"},
{"ASynInsideAConnectionIsChallenged", "RFC 5961, 4.2", R"(
open
< S 1:1
> A 1:1 ack 1
< SA 50:50 ack 1
> A 1:1 ack 1
state ESTABLISHED)"},
{"AnAcknowledgementOfWhatWasNeverSentIsRefused", "RFC 5961, 5.2", R"(
open
< PA 1:101 ack 5000
> A 1:1 ack 1
got 0)"},
{"AnAcknowledgementFromLongAgoIsRefused", "RFC 5961, 5.2", R"(
open
< PA 1:101 ack -70000
> A 1:1 ack 1
got 0
< PA 1:101 ack -1000
got 100)"},
{"AnOldPureAcknowledgementIsAnswered", "keep-alive of the guest (RFC 9293, 3.8.4)", R"(
open
< A 0:0 ack 1
> A 1:1 ack 1)"},
{"AbortSendsAReset", "RFC 9293, 3.10.5", R"(
open
write 10
> PA 1:11
abort
> RA 11:11 ack 1
state CLOSED)"},
{"AbortOfAnOpeningConnectionSendsAReset", "RFC 9293, 3.10.5", R"(
connect
> S 0:0
abort
> R 1:1)"},
{"AfterTheEndSegmentsAreReset", "RFC 9293, 3.10.7.1", R"(
open
abort
> RA 1:1 ack 1
< PA 1:11 ack 1
> R 1:1
< S 1:11
> RA -1000000:-1000000 ack 12
< R 1:1)"},
{"AResetEndsEveryLaterStateToo", "RFC 9293, 3.10.7.4", R"(
open
end
> FA 1:1
< A 1:1 ack 2
< R 1:1
closed reset)"},
{"AResetOfTheGuestInCloseWait", "RFC 9293, 3.10.7.4", R"(
open
< FA 1:1 ack 1
> A 1:1 ack 2
< R 2:2
closed reset)"},
};

// clang-format on

}  // namespace snowglobe::net
