"""A running system under load, and one fault after the other: is anything lost, doubled, wedged or wrong?"""
