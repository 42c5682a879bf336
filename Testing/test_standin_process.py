"""qt.QProcess and qt.QTimer of the stand-in behave as PythonQt's do."""

import sys
import time

import pytest


def run_until_ended(slicer_app, process):
    import qt

    end = time.monotonic() + 30
    while process.state() != qt.QProcess.NotRunning and time.monotonic() < end:
        slicer_app.processEvents()
        process.waitForFinished(10)
    slicer_app.processEvents()


def test_process_talks_through_its_pipes(slicer_app):
    import qt

    read, news, process = [], [], qt.QProcess()
    process.connect("readyReadStandardOutput()", lambda: read.append(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: news.append((code, status)))
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.insert("RAREUNET_TEST", "set")
    process.setProcessEnvironment(environment)
    code = "import os, sys; print(os.environ['RAREUNET_TEST'], sys.stdin.readline(), flush=True); sys.exit(3)"
    process.start(sys.executable, ["-c", code])
    process.write(b"hello\n")
    run_until_ended(slicer_app, process)
    assert b"".join(read).split() == [b"set", b"hello"]
    assert news == [(3, qt.QProcess.NormalExit)]


def test_a_program_that_is_not_there(slicer_app):
    import qt

    errors, process = [], qt.QProcess()
    process.connect("errorOccurred(QProcess::ProcessError)", errors.append)
    process.start("/no/such/program", [])
    run_until_ended(slicer_app, process)
    assert errors == [qt.QProcess.FailedToStart]


def test_only_what_pythonqt_offers(slicer_app):
    import qt

    process = qt.QProcess()
    with pytest.raises(AttributeError):
        _ = process.startCommand  # Qt 6
    with pytest.raises(AttributeError):
        process.callback = print
    with pytest.raises(TypeError):
        bytes(process.readAllStandardOutput())  # QByteArray is read by data()
    with pytest.raises(ValueError, match="no signal"):
        process.connect("finished()", print)


def test_single_shot_is_a_function_of_the_class_and_a_property_of_a_timer(slicer_app):
    import qt

    ticks, timer = [], qt.QTimer()
    timer.singleShot = True
    assert timer.isSingleShot()
    assert timer.singleShot is True
    timer.connect("timeout()", lambda: ticks.append("timer"))
    timer.start(1)
    qt.QTimer.singleShot(1, lambda: ticks.append("class"))
    end = time.monotonic() + 10
    while len(ticks) < 2 and time.monotonic() < end:
        slicer_app.processEvents()
    assert sorted(ticks) == ["class", "timer"]
