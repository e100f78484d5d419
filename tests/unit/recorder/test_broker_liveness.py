from districam_recorder.core.broker_liveness import BrokerLiveness
from support.fragments import S


def test_contact_lasts_from_the_first_answer_to_the_last():
    contact = BrokerLiveness(max_silence_us=10 * S)
    assert contact.responding_for_us() == 0
    for at_us in range(5 * S, 70 * S, 5 * S):
        contact.report_response(at_us)
    assert contact.responding_for_us() == 60 * S


def test_a_silence_restarts_the_contact():
    contact = BrokerLiveness(max_silence_us=10 * S)
    contact.report_response(0)
    contact.report_response(10 * S)
    contact.report_response(20 * S + 1)
    assert contact.responding_for_us() == 0
    contact.report_response(25 * S)
    contact.report_response(24 * S)  # an older answer reported late
    assert contact.responding_for_us() == 5 * S - 1
