"""PythonQt's object semantics, widgets and the .ui loader of the stand-in."""

import pytest

UI = """<ui version="4.0"><class>Panel</class>
<widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout">
 <item><widget class="{cls}" name="selector"><property name="nodeTypes">
  <stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property></widget></item>
 <item><widget class="QPushButton" name="applyButton">
  <property name="text"><string>Apply</string></property></widget></item>
</layout></widget><resources/>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def test_properties_are_attributes(slicer_app):
    import qt

    label = qt.QLabel("text")
    label.text = "other"
    label.name = "aName"
    assert (label.text, label.objectName, label.className()) == ("other", "aName", "QLabel")
    with pytest.raises(TypeError):
        label.text()


def test_connect_checks_signature_and_passes_declared_arguments(slicer_app):
    import qt

    button, received = qt.QPushButton("b"), []
    button.checkable = True
    button.connect("clicked(bool)", received.append)
    button.click()
    assert received == [True]
    assert button.disconnect("clicked(bool)", received.append)
    button.click()
    assert received == [True]
    for wrong in ("pressed(bool)", "clicked(int)", "noSuchSignal()"):
        with pytest.raises(ValueError, match="has no signal"):
            button.connect(wrong, received.append)


def test_cpp_objects_refuse_new_attributes(slicer_app):
    import ctk
    import qt
    import slicer

    for widget in (qt.QLabel(), ctk.ctkCollapsibleButton(), slicer.qMRMLNodeComboBox()):
        with pytest.raises(AttributeError, match="creating new attributes"):
            widget.notAProperty = 1
        with pytest.raises(AttributeError):
            _ = widget.notAProperty


def test_collapsible_button_hides_its_children(slicer_app):
    import ctk
    import qt

    button, states = ctk.ctkCollapsibleButton(), []
    button.text = "Advanced"
    layout = qt.QFormLayout(button)
    label = qt.QLabel("inside")
    layout.addWidget(label)
    button.connect("contentsCollapsed(bool)", states.append)
    button.collapsed = True
    assert states == [True]
    assert label.isHidden()
    assert not button.checked
    button.collapsed = False
    assert states == [True, False]
    assert not label.isHidden()


def test_node_combo_box(slicer_app):
    import slicer

    box, changes = slicer.qMRMLNodeComboBox(), []
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.noneEnabled = True
    box.connect("currentNodeChanged(vtkMRMLNode*)", changes.append)
    box.setMRMLScene(slicer.mrmlScene)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "v")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "roi")
    assert box.nodeCount() == 1
    assert box.currentNode() is None
    box.setCurrentNode(volume)
    assert box.currentNodeID == volume.GetID()
    assert changes == [volume]
    slicer.mrmlScene.RemoveNode(volume)
    assert box.currentNode() is None
    assert changes == [volume, None]
    box.setMRMLScene(None)


def test_load_ui_connects_the_scene(slicer_app, tmp_path):
    import slicer

    (tmp_path / "panel.ui").write_text(UI.format(cls="qMRMLNodeComboBox"))
    widget = slicer.util.loadUI(str(tmp_path / "panel.ui"))
    ui = slicer.util.childWidgetVariables(widget)
    widget.setMRMLScene(slicer.mrmlScene)
    assert ui.selector.mrmlScene() is slicer.mrmlScene
    assert list(ui.selector.nodeTypes) == ["vtkMRMLScalarVolumeNode"]
    assert ui.applyButton.text == "Apply"


@pytest.mark.parametrize("unknown", ["qMRMLNoSuchWidget", "ctkNoSuchWidget", "QNoSuchWidget"])
def test_load_ui_raises_on_unknown_widget(slicer_app, tmp_path, unknown):
    import slicer

    (tmp_path / "panel.ui").write_text(UI.format(cls=unknown))
    with pytest.raises(RuntimeError, match=unknown):
        slicer.util.loadUI(str(tmp_path / "panel.ui"))


def test_slot_exception_is_recorded(slicer_app):
    import qt

    def fail():
        raise ValueError("from the slot")

    button = qt.QPushButton()
    button.connect("clicked()", fail)
    button.click()
    assert [str(error) for error in slicer_app.takeSlotExceptions()] == ["from the slot"]


def test_modal_dialog_raises(slicer_app):
    import qt

    with pytest.raises(RuntimeError, match="modal"):
        qt.QMessageBox().exec_()
