"""What pages quote from elsewhere: figures of runs and of committed tables, and lists of what the code declares.

    python -m benchmarks.quoted            # writes all of it into README.md and docs/
    python -m benchmarks.quoted --check    # says what is not current, and changes nothing

A page marks what is made. A block between two comments is made anew as a whole (kinds: `benchmarks.quoted.blocks`):

    <!-- quoted: compared digits fedavg fedloge -->
    ...
    <!-- end -->

Figures within a sentence stand in a comment before its paragraph, each with where it comes from: the name of a table
(`benchmarks.quoted.measured`), then `METHOD METRIC = FIGURE`, and after another `TABLE:` those of that one. Each must
stand in the paragraph, too:

    <!-- figures: digits: fedgrab generic/accuracy = 67.7 ± 4.1; fedgrab generic/few = 28.7 -->
    Its generic model has 67.7 ± 4.1 %, tail 28.7.
"""
