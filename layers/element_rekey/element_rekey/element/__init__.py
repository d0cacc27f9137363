"""The Element API of one cluster: the calls (``client``), their answers (``answers``), HTTPS (``transport``)."""
