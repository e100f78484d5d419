from districam_recorder.core.contact import Contact
from support.fragments import S


def test_contact_lasts_from_the_first_answer_to_the_last():
    contact = Contact(break_us=10 * S)
    assert contact.lasts_us() == 0
    for at_us in range(5 * S, 70 * S, 5 * S):
        contact.heard(at_us)
    assert contact.lasts_us() == 60 * S


def test_a_break_starts_it_anew():
    contact = Contact(break_us=10 * S)
    contact.heard(0)
    contact.heard(10 * S)
    contact.heard(20 * S + 1)
    assert contact.lasts_us() == 0
    contact.heard(25 * S)
    contact.heard(24 * S)  # an older sign of life told late
    assert contact.lasts_us() == 5 * S - 1
