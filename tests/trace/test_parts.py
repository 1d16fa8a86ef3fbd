from flopwatch.trace.parts import BUSY, COMPUTE, PARTS


def test_the_parts_are_those_of_the_documented_json():
    documented = "matmul attention convolution other_compute optimizer communication_exposed copy_exposed"
    assert " ".join(PARTS) == f"{documented} idle_data idle_host idle_other"
    assert PARTS[:7] == BUSY
    assert PARTS[:5] == COMPUTE
